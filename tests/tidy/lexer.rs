//! Rust source as words and signs, with comments kept apart and literals left out: enough to see
//! paths, attributes, macros and braces, without taking those in texts for real ones.

/// A word, or one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword.
    Word(String),
    /// One character that is neither part of a word nor of a literal.
    Sign(char),
    /// A string, character, number or lifetime.
    Literal,
}

impl Token {
    /// Whether it is this word.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found == word)
    }

    /// The word or sign that it is; nothing for a literal.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Sign(sign) => sign.to_string(),
            Self::Literal => String::new(),
        }
    }

    /// The word that it is.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// A source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Words and signs, each with the number of its line.
    pub(crate) tokens: Vec<(usize, Token)>,
    /// Comments, each with the number of its first line.
    pub(crate) comments: Vec<(usize, String)>,
}

/// Takes a source file apart.
pub(crate) fn read(text: &str) -> Source {
    let mut lexer = Lexer { rest: text.chars().collect(), at: 0, line: 1 };
    let mut source = Source::default();
    while let Some(next) = lexer.peek(0) {
        let line = lexer.line;
        match next {
            '/' if lexer.peek(1) == Some('/') => {
                source.comments.push((line, lexer.take_while(|sign| sign != '\n')));
            }
            '/' if lexer.peek(1) == Some('*') => {
                source.comments.push((line, lexer.block_comment()));
            }
            '"' => {
                lexer.string();
                source.tokens.push((line, Token::Literal));
            }
            '\'' => {
                lexer.character_or_lifetime();
                source.tokens.push((line, Token::Literal));
            }
            _ if next.is_ascii_digit() => {
                lexer.take_while(is_word);
                source.tokens.push((line, Token::Literal));
            }
            _ if is_word(next) => {
                let token = lexer.word_or_prefixed_string();
                source.tokens.push((line, token));
            }
            _ => {
                lexer.bump();
                if !next.is_whitespace() {
                    source.tokens.push((line, Token::Sign(next)));
                }
            }
        }
    }
    source
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let sign = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(sign == '\n');
        Some(sign)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(sign) = self.peek(0).filter(|sign| wanted(*sign)) {
            taken.push(sign);
            self.bump();
        }
        taken
    }

    fn block_comment(&mut self) -> String {
        let mut depth = 0;
        let mut text = String::new();
        while let (Some(first), second) = (self.peek(0), self.peek(1)) {
            match (first, second) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    text.push(first);
                    self.bump();
                    continue;
                }
            }
            self.bump();
            self.bump();
            if depth == 0 {
                break;
            }
        }
        text
    }

    fn string(&mut self) {
        self.bump();
        while let Some(sign) = self.bump() {
            match sign {
                '\\' => {
                    self.bump();
                }
                '"' => break,
                _ => {}
            }
        }
    }

    /// `r"…"`, `r#"…"#` and so on, from the first `#` or `"` on.
    fn raw_string(&mut self) {
        let fence = self.take_while(|sign| sign == '#').len();
        self.bump();
        while let Some(sign) = self.bump() {
            if sign == '"' && (0..fence).all(|ahead| self.peek(ahead) == Some('#')) {
                (0..fence).for_each(|_| {
                    self.bump();
                });
                break;
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        self.bump();
        let escaped = self.peek(0) == Some('\\');
        if !escaped && self.peek(1) != Some('\'') {
            self.take_while(is_word);
            return;
        }
        while let Some(sign) = self.bump() {
            match sign {
                '\\' => {
                    self.bump();
                }
                '\'' => break,
                _ => {}
            }
        }
    }

    fn word_or_prefixed_string(&mut self) -> Token {
        let word = self.take_while(is_word);
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        match (self.peek(0), self.peek(1)) {
            (Some('"'), _) if raw => self.raw_string(),
            (Some('#'), Some('"' | '#')) if raw => self.raw_string(),
            (Some('#'), _) if word == "r" => {
                self.bump();
                return Token::Word(self.take_while(is_word));
            }
            (Some('"'), _) if matches!(word.as_str(), "b" | "c") => self.string(),
            (Some('\''), _) if word == "b" => self.character_or_lifetime(),
            _ => return Token::Word(word),
        }
        Token::Literal
    }
}
