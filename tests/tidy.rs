//! What the compiler does not check of the house style: imports point down the layers, functions
//! and files stay short, pure modules say that they are pure, and unsafe code stays where it is.
//!
//! Each check is itself tested on bad snippets.

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/lexer.rs"]
mod lexer;

use checks::{
    Complaint, LONG_FILES, MAX_CODE_LINES, MAX_FUNCTION_LINES, MAX_TEST_LINES, check,
    check_file_length, check_layers, check_leftovers, test_modules,
};
use lexer::Token;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn source_files() -> BTreeMap<String, String> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join("src"), &mut files);
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_source_is_tidy() {
    let files = source_files();
    assert!(files.len() > 20, "only {} files were found", files.len());
    let tests: Vec<_> =
        files.iter().flat_map(|(path, text)| test_modules(path, &lexer::read(text))).collect();
    let mut wrong = Vec::new();
    for (path, text) in &files {
        let belongs = |module: &String| {
            let rest = path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        for Complaint { line, what } in check(path, text, tests.iter().any(belongs)) {
            wrong.push(format!("{path}:{line}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn exceptions_are_still_needed() {
    let files = source_files();
    for (path, reason) in LONG_FILES {
        let text = files.get(path).unwrap_or_else(|| panic!("{path} ({reason}) is gone"));
        assert!(!check_file_length(text, false).is_empty(), "{path} needs no exception any more");
    }
}

/// The complaints about a snippet that stands in a file of this path, as one text.
fn complaints(path: &str, text: &str) -> String {
    let complaints = check(path, text, false);
    complaints.iter().map(|complaint| format!("{}: {}\n", complaint.line, complaint.what)).collect()
}

#[test]
fn imports_that_point_up_are_found() {
    let upward = [
        ("src/wire/a.rs", "use crate::mirror::Version;"),
        ("src/wire/a.rs", "use super::super::node::Fault;"),
        ("src/wire/a.rs", "mod tests { use super::super::super::node::Fault; }"),
        ("src/node/router/a.rs", "fn f() {\n    crate::net::bind();\n}"),
        ("src/node/mod.rs", "use crate::{wire::Key, net::frames};"),
        ("src/node/mod.rs", "use crate::{\n    wire::{Key, Name},\n    sim,\n};"),
        ("src/mirror/a.rs", "use crate::cluster::Board;"),
        ("src/sim/a.rs", "pub(crate) use crate::config::Config;"),
        ("src/config/a.rs", "use crate::source::Source;"),
        ("src/net/a.rs", "use crate::cli::Arguments;"),
        ("src/net/a.rs", "use crate::elsewhere::Thing;"),
        ("src/elsewhere/a.rs", "use crate::wire::Key;"),
    ];
    for (path, text) in upward {
        let found = check_layers(path, &lexer::read(text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

#[test]
fn imports_that_point_down_are_not() {
    let downward = [
        ("src/mirror/a.rs", "use crate::wire::{Key, Name};\nuse super::Version;"),
        ("src/mirror/a.rs", "use super::super::wire::Key;"),
        ("src/node/a.rs", "use crate::{wire::{self, Key}, cluster::Board};"),
        ("src/net/a.rs", "use crate::source::Source;\nuse crate::admin;"),
        (
            "src/net/a.rs",
            "//! As [`crate::cli`] says.\n/* crate::cli */\nfn f() { \"crate::cli\"; }",
        ),
        ("src/node/router/a.rs", "mod tests { use super::super::Fault; }"),
        ("src/node/router/a.rs", "mod b { }\nuse super::super::Fault;"),
        ("src/lib.rs", "pub use crate::cli::run;"),
        ("src/wire/a.rs", "pub(in crate::wire) fn f() {}\npub(crate) fn g() {}"),
    ];
    for (path, text) in downward {
        assert_eq!(check_layers(path, &lexer::read(text)), [], "{path}: {text}");
    }
}

#[test]
fn long_things_are_found() {
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2));
    assert_eq!(complaints("src/net/a.rs", &function(MAX_FUNCTION_LINES)), "");
    let found = complaints("src/net/a.rs", &function(MAX_FUNCTION_LINES + 1));
    assert_eq!(found, "1: fn long has 71 lines, 70 are allowed\n");
    let with_text = function(MAX_FUNCTION_LINES).replacen("a();", "let brace = \"}\";\n", 1);
    assert!(complaints("src/net/a.rs", &with_text).contains("fn long has 71"), "{with_text}");
    let declared = format!("trait T {{\n    fn f(&self);\n{}}}\n", "    fn g();\n".repeat(200));
    assert_eq!(complaints("src/net/a.rs", &declared), "");

    assert_eq!(complaints("src/net/a.rs", &format!("// {}\n", "ä".repeat(97))), "");
    let found = complaints("src/net/a.rs", &format!("// {}\n", "ä".repeat(98)));
    assert_eq!(found, "1: 101 columns, 100 are allowed\n");

    let file = |code: usize, tests: usize| {
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a!();\n".repeat(code), "\n".repeat(tests))
    };
    assert_eq!(complaints("src/net/a.rs", &file(MAX_CODE_LINES, 100)), "");
    assert!(
        complaints("src/net/a.rs", &file(MAX_CODE_LINES + 1, 100)).contains("before the tests")
    );
    assert!(complaints("src/net/a.rs", &file(100, 400)).contains("503 lines, 500 are allowed"));
    assert_eq!(check_file_length(&"a\n".repeat(MAX_TEST_LINES), true), []);
    assert_eq!(check_file_length(&"a\n".repeat(MAX_TEST_LINES + 1), true).len(), 1);
}

#[test]
fn leftovers_are_found() {
    let left = [
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"later\") }",
        "fn f() { dbg!(1); }",
        "// TODO: later",
        "/* FIXME */",
        "//! TODO(): later",
    ];
    for text in left {
        assert_eq!(check_leftovers(&lexer::read(text)).len(), 1, "{text}");
    }
    let fine = "// TODO(quinn 0.12 has it): drop this\nlet todo = \"todo!() TODO\"; let dbg = r#\"dbg!(\"#;";
    assert_eq!(check_leftovers(&lexer::read(fine)), []);
}

#[test]
fn unsafe_code_is_found() {
    let block = "fn f() { unsafe { g() } }";
    assert!(complaints("src/net/a.rs", block).contains("unsafe code does not belong here"));
    assert!(complaints("src/net/a.rs", "#![allow(unsafe_code)]").contains("not to be allowed"));
    assert!(
        complaints("src/net/a.rs", "#[expect(unsafe_code, reason = \"\")]").contains("allowed")
    );
    assert_eq!(complaints("src/assign/a.rs", block), "");
    assert_eq!(complaints("src/net/a.rs", "// unsafe\nlet a = \"unsafe { }\";"), "");
}

#[test]
fn pure_modules_that_do_not_say_so_are_found() {
    let forbid = "#![forbid(unsafe_code)]\n";
    let deny = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]\n";
    assert_eq!(complaints("src/wire/mod.rs", &format!("//! Bytes.\n{forbid}{deny}")), "");
    assert!(complaints("src/wire/mod.rs", deny).contains("#![forbid(unsafe_code)]"));
    assert!(complaints("src/wire/mod.rs", forbid).contains("clippy::disallowed_methods"));
    let half = format!("{forbid}#![deny(clippy::disallowed_methods)]\n");
    assert!(complaints("src/node.rs", &half).contains("clippy::disallowed_types"));
    let commented = format!("{deny}// {forbid}");
    assert!(complaints("src/wire/mod.rs", &commented).contains("#![forbid(unsafe_code)]"));
    assert_eq!(complaints("src/assign/mod.rs", deny), "", "the table needs unsafe code");
    assert_eq!(complaints("src/mirror/mod.rs", deny), "", "and so does one file of the arena");
    assert!(complaints("src/mirror/arena/mod.rs", "unsafe {}").contains("does not belong here"));
    assert_eq!(complaints("src/mirror/arena/page.rs", "unsafe {}"), "");
    assert_eq!(complaints("src/net/mod.rs", ""), "", "shells are not pure");
    let taken_back = "#[allow(clippy::disallowed_types)]\nfn f() {}";
    assert!(complaints("src/wire/lane/a.rs", taken_back).contains("wire is pure"));
}

#[test]
fn modules_for_tests_are_told_from_others() {
    let text = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod strategies;\nmod plain;\n";
    let source = lexer::read(text);
    let expected = ["src/wire/tests", "src/wire/strategies"];
    assert_eq!(test_modules("src/wire/mod.rs", &source), expected);
    assert_eq!(test_modules("src/wire.rs", &source), expected);
}

#[test]
fn literals_and_comments_are_no_code() {
    let text =
        "let a = 'x'; let b = '\\''; let c: &'static str = b\"{\"; /* { /* { */ */ r#type; // {";
    let source = lexer::read(text);
    assert!(!source.tokens.iter().any(|(_, token)| *token == Token::Sign('{')), "{source:?}");
    assert!(source.tokens.iter().any(|(_, token)| token.is_word("type")), "{source:?}");
    assert_eq!(source.comments.len(), 2);
    let lines = lexer::read("\"one\ntwo\"\nthree");
    assert_eq!(lines.tokens.last(), Some(&(3, Token::Word("three".to_owned()))));
}
