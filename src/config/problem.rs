//! What is wrong with a configuration, where, and what to do.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, counted from 1; none where the file as a whole is meant, or something it lacks.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// All that is wrong with one configuration file. Nothing was started or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: PathBuf,
    /// What is wrong with it, by line; at least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// One problem of the file as a whole.
    pub(crate) fn whole(file: impl Into<PathBuf>, what: String, fix: &str) -> Self {
        let problem = Problem { line: None, what, fix: fix.to_owned() };
        Self { file: file.into(), problems: vec![problem] }
    }
}

impl std::error::Error for ConfigErrors {}

/// One problem a line: `server.toml:7: what is wrong: what to do`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}: {}", problem.what, problem.fix)?;
        }
        Ok(())
    }
}
