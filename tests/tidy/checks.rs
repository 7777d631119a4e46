//! The checks: each a function from source text to complaints.

use super::lexer::{self, Source, Token};

/// Longest line, in characters.
const MAX_COLUMNS: usize = 100;
/// Longest function, from `fn` to its closing brace.
pub(crate) const MAX_FUNCTION_LINES: usize = 70;
/// Longest file.
pub(crate) const MAX_FILE_LINES: usize = 500;
/// Longest part of a file before its tests.
pub(crate) const MAX_CODE_LINES: usize = 320;
/// Longest file of tests alone: cases stand side by side, and are read one at a time.
pub(crate) const MAX_TEST_LINES: usize = 900;

/// The modules, the lowest layer first. What stands in one layer does not use each other, except in
/// the layer of the shells.
const LAYERS: [&[&str]; 8] = [
    &["wire"],
    &["h3", "http"],
    &["assign", "cluster", "mirror"],
    &["node"],
    &["sim"],
    &["config"],
    SHELLS,
    &["cli"],
];
const SHELLS: &[&str] = &["admin", "load", "net", "source"];

/// Modules without clock, socket, thread or global randomness.
const PURE: [&str; 7] = ["wire", "assign", "cluster", "h3", "http", "mirror", "node"];

/// Where unsafe code may stand, and why.
const UNSAFE: [(&str, &str); 4] = [
    ("src/assign/", "the assignment table is read without waiting, by all workers"),
    ("src/mirror/arena/page.rs", "payloads are written beside others that are being sent"),
    ("src/net/tests/allocations.rs", "an allocator that counts, for a test"),
    ("src/net/steering/attach.rs", "no library sets SO_ATTACH_REUSEPORT_CBPF"),
];

/// Files that may be longer, and why.
pub(crate) const LONG_FILES: [(&str, &str); 0] = [];

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Where.
    pub(crate) line: usize,
    /// What.
    pub(crate) what: String,
}

fn complaint(line: usize, what: impl Into<String>) -> Complaint {
    Complaint { line, what: what.into() }
}

/// The path of a file below `src/`, as the names of modules: `src/wire/lane/mod.rs` is
/// `["wire", "lane"]`.
fn modules(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let names = inner.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main"));
    names.map(str::to_owned).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether a file of one module may use another one.
fn may_use(from: &str, to: &str) -> Result<(), String> {
    let Some(above) = layer(from) else {
        return Err(format!("module {from} has no layer: give it one in tests/tidy.rs"));
    };
    let Some(below) = layer(to) else {
        return Err(format!("crate::{to} is no module that has a layer"));
    };
    let shells = SHELLS.contains(&from) && SHELLS.contains(&to);
    if from == to || below < above || shells {
        Ok(())
    } else if below == above {
        Err(format!("{from} uses {to}, which stands in the same layer"))
    } else {
        Err(format!("{from} uses {to}, which stands in a higher layer"))
    }
}

/// The top-level modules that a file names, by `crate::…` or by enough `super::`.
fn named_modules(path: &str, source: &Source) -> Vec<(usize, String)> {
    let tokens = &source.tokens;
    let depth = modules(path).len();
    // Modules inside the file, each by the number of braces that are open inside it.
    let mut inline = Vec::new();
    let mut braces = 0usize;
    let mut named = Vec::new();
    for (at, (_, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => braces += 1,
            Token::Sign('}') => {
                braces = braces.saturating_sub(1);
                inline.retain(|opened| *opened <= braces);
            }
            Token::Word(word) if word == "mod" && is_sign(tokens, at + 2, '{') => {
                inline.push(braces + 1);
            }
            Token::Word(word) if word == "crate" && is_path(tokens, at + 1) => {
                named.extend(heads(tokens, at + 3));
            }
            Token::Word(word) if word == "super" && !follows_super(tokens, at) => {
                let is_super = |at: &usize| {
                    tokens.get(*at).is_some_and(|(_, token)| token.is_word("super"))
                        && is_path(tokens, at + 1)
                };
                let levels = (at..).step_by(3).take_while(is_super).count();
                if levels == depth + inline.len() {
                    named.extend(heads(tokens, at + 3 * levels));
                }
            }
            _ => {}
        }
    }
    named
}

fn is_sign(tokens: &[(usize, Token)], at: usize, sign: char) -> bool {
    tokens.get(at).is_some_and(|(_, token)| *token == Token::Sign(sign))
}

fn is_path(tokens: &[(usize, Token)], at: usize) -> bool {
    is_sign(tokens, at, ':') && is_sign(tokens, at + 1, ':')
}

fn follows_super(tokens: &[(usize, Token)], at: usize) -> bool {
    at >= 3 && is_path(tokens, at - 2) && tokens[at - 3].1.is_word("super")
}

/// The first names of a path or of a group of paths: `a::b` has `a`, `{a::b, c}` has `a` and `c`.
fn heads(tokens: &[(usize, Token)], mut at: usize) -> Vec<(usize, String)> {
    let head = |(line, token): &(usize, Token)| token.word().map(|word| (*line, word.to_owned()));
    if !is_sign(tokens, at, '{') {
        return tokens.get(at).and_then(head).into_iter().collect();
    }
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut first = true;
    while let Some(token) = tokens.get(at) {
        match &token.1 {
            Token::Sign('{') => {
                depth += 1;
            }
            Token::Sign('}') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            Token::Sign(',') if depth == 1 => first = true,
            Token::Word(_) if depth == 1 && first => {
                heads.extend(head(token));
                first = false;
            }
            _ => {}
        }
        at += 1;
    }
    heads
}

pub(crate) fn check_layers(path: &str, source: &Source) -> Vec<Complaint> {
    let from = modules(path);
    let Some(from) = from.first() else {
        // The roots wire everything together.
        return Vec::new();
    };
    let named = named_modules(path, source);
    named
        .into_iter()
        .filter_map(|(line, to)| may_use(from, &to).err().map(|what| complaint(line, what)))
        .collect()
}

fn check_lines(text: &str) -> Vec<Complaint> {
    let too_long = |(index, line): (usize, &str)| {
        let columns = line.chars().count();
        let what = format!("{columns} columns, {MAX_COLUMNS} are allowed");
        (columns > MAX_COLUMNS).then(|| complaint(index + 1, what))
    };
    text.lines().enumerate().filter_map(too_long).collect()
}

/// `tests_only`: the whole file is compiled for tests alone.
pub(crate) fn check_file_length(text: &str, tests_only: bool) -> Vec<Complaint> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let all = lines.len();
    let starts_tests = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    let code = lines.windows(2).position(starts_tests).unwrap_or(all);
    let mut complaints = Vec::new();
    let most = if tests_only { MAX_TEST_LINES } else { MAX_FILE_LINES };
    if all > most {
        complaints.push(complaint(all, format!("{all} lines, {most} are allowed")));
    }
    if code > MAX_CODE_LINES && !tests_only {
        let what = format!("{code} lines before the tests, {MAX_CODE_LINES} are allowed");
        complaints.push(complaint(code, what));
    }
    complaints
}

fn check_functions(source: &Source) -> Vec<Complaint> {
    let tokens = &source.tokens;
    let mut complaints = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let name = tokens.get(at + 1).and_then(|(_, token)| token.word());
        let (true, Some(name)) = (token.is_word("fn"), name) else {
            continue;
        };
        let Some(last) = last_line_of_function(tokens, at) else {
            continue;
        };
        let length = last - line + 1;
        if length > MAX_FUNCTION_LINES {
            let what = format!("fn {name} has {length} lines, {MAX_FUNCTION_LINES} are allowed");
            complaints.push(complaint(*line, what));
        }
    }
    complaints
}

/// `None` for a function without a body.
fn last_line_of_function(tokens: &[(usize, Token)], at: usize) -> Option<usize> {
    let mut depth = 0;
    let mut inside = false;
    for (line, token) in &tokens[at..] {
        match token {
            Token::Sign('(' | '[') if !inside => depth += 1,
            Token::Sign(')' | ']') if !inside => depth -= 1,
            Token::Sign(';') if !inside && depth == 0 => return None,
            Token::Sign('{') if inside || depth == 0 => {
                inside = true;
                depth += 1;
            }
            Token::Sign('}') if inside => {
                depth -= 1;
                if depth == 0 {
                    return Some(*line);
                }
            }
            _ => {}
        }
    }
    None
}

pub(crate) fn check_leftovers(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, (line, token)) in source.tokens.iter().enumerate() {
        if let Some(word @ ("todo" | "unimplemented" | "dbg")) = token.word()
            && is_sign(&source.tokens, at + 1, '!')
        {
            complaints.push(complaint(*line, format!("{word}! must not stay")));
        }
    }
    for (line, text) in &source.comments {
        for mark in ["TODO", "FIXME"] {
            let Some((_, rest)) = text.split_once(mark) else {
                continue;
            };
            let reason = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            if reason.is_none_or(|(reason, _)| reason.trim().is_empty()) {
                let what = format!("a {mark} without a reason: write {mark}(why it must wait)");
                complaints.push(complaint(*line, what));
            }
        }
    }
    complaints
}

fn check_unsafe(path: &str, source: &Source) -> Vec<Complaint> {
    if UNSAFE.iter().any(|(allowed, _)| path.starts_with(allowed)) {
        return Vec::new();
    }
    let blocks = source.tokens.iter().filter(|(_, token)| token.is_word("unsafe"));
    let mut complaints: Vec<_> =
        blocks.map(|(line, _)| complaint(*line, "unsafe code does not belong here")).collect();
    for (line, lint) in allowed_lints(source) {
        if lint == "unsafe_code" {
            complaints.push(complaint(line, "unsafe code is not to be allowed here"));
        }
    }
    complaints
}

/// The lints that attributes named in `levels` are about, each with its line.
fn lints(source: &Source, levels: &[&str], inner: bool) -> Vec<(usize, String)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let start = at + 1 + usize::from(inner);
        let opens = is_sign(tokens, at, '#')
            && (!inner || is_sign(tokens, at + 1, '!'))
            && is_sign(tokens, start, '[');
        let level = tokens.get(start + 1).and_then(|(_, token)| token.word());
        if !opens || !level.is_some_and(|level| levels.contains(&level)) {
            continue;
        }
        let words = tokens[start + 2..].iter().take_while(|(_, token)| *token != Token::Sign(']'));
        found.extend(words.filter_map(|(line, token)| Some((*line, token.word()?.to_owned()))));
    }
    found
}

fn allowed_lints(source: &Source) -> Vec<(usize, String)> {
    let mut all = lints(source, &["allow", "expect"], false);
    all.extend(lints(source, &["allow", "expect"], true));
    all
}

/// What a pure module's first file must say, and what none of its files may take back.
fn check_purity(path: &str, source: &Source) -> Vec<Complaint> {
    let modules = modules(path);
    let Some(module) = modules.first().filter(|module| PURE.contains(&module.as_str())) else {
        return Vec::new();
    };
    let guards = ["disallowed_methods", "disallowed_types"];
    let mut complaints: Vec<_> = allowed_lints(source)
        .into_iter()
        .filter(|(_, lint)| guards.contains(&lint.as_str()))
        .map(|(line, lint)| {
            complaint(line, format!("{module} is pure: {lint} is not to be allowed"))
        })
        .collect();
    if modules.len() == 1 {
        let denied = lints(source, &["deny", "forbid"], true);
        let says = |lint: &str| denied.iter().any(|(_, denied)| denied == lint);
        for guard in guards.into_iter().filter(|guard| !says(guard)) {
            let what = format!("{module} is pure: it must say #![deny(clippy::{guard})]");
            complaints.push(complaint(1, what));
        }
        let forbidden = lints(source, &["forbid"], true);
        // What the first file forbids, no file below it can allow.
        let below = format!("src/{module}/");
        let excepted = UNSAFE.iter().any(|(allowed, _)| allowed.starts_with(&below));
        if !excepted && !forbidden.iter().any(|(_, lint)| lint == "unsafe_code") {
            let what = format!("{module} is pure: it must say #![forbid(unsafe_code)]");
            complaints.push(complaint(1, what));
        }
    }
    complaints
}

pub(crate) fn check(path: &str, text: &str, tests_only: bool) -> Vec<Complaint> {
    let source = lexer::read(text);
    let mut complaints = check_layers(path, &source);
    complaints.extend(check_lines(text));
    complaints.extend(check_functions(&source));
    complaints.extend(check_leftovers(&source));
    complaints.extend(check_unsafe(path, &source));
    complaints.extend(check_purity(path, &source));
    if !LONG_FILES.iter().any(|(long, _)| *long == path) {
        complaints.extend(check_file_length(text, tests_only));
    }
    complaints
}

/// The modules that a file declares for tests alone, as the paths that their files start with.
pub(crate) fn test_modules(path: &str, source: &Source) -> Vec<String> {
    let directory = match path.rsplit_once('/') {
        Some((directory, "mod.rs" | "lib.rs" | "main.rs")) => directory,
        _ => path.trim_end_matches(".rs"),
    };
    let text: Vec<_> = source.tokens.iter().map(|(_, token)| token.text()).collect();
    let text: Vec<_> = text.iter().map(String::as_str).collect();
    let declared = (0..text.len()).filter_map(|at| {
        let condition = text[at..].strip_prefix(&["#", "[", "cfg", "("])?;
        let end = condition.iter().position(|token| *token == "]")?;
        let (condition, after) = (&condition[..end], &condition[end + 1..]);
        // `test` alone, or what also needs a feature; never `not(test)` or `any(test, …)`.
        let for_tests = match condition {
            ["test", ")"] => true,
            ["all", "(", "test", ..] => !condition.contains(&"any") && !condition.contains(&"not"),
            _ => false,
        };
        match after.strip_prefix(&["pub", "(", "crate", ")"]).unwrap_or(after) {
            ["mod", name, ";", ..] if for_tests => Some(format!("{directory}/{name}")),
            _ => None,
        }
    });
    declared.collect()
}
