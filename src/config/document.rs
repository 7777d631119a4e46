//! One file while it is being read: where its lines are, and all that is wrong with it.

use super::problem::Problem;
use super::section::{Located, Section};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Problems reported of one file, at the most: nobody reads more at one time.
const MAX_PROBLEMS: usize = 100;

/// One file while it is being read.
pub(super) struct Document<'a> {
    directory: &'a Path,
    newlines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    path_lines: RefCell<BTreeMap<PathBuf, usize>>,
}

impl<'a> Document<'a> {
    /// Starts on `text`, whose relative paths are relative to `directory`.
    pub(super) fn new(text: &str, directory: &'a Path) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            directory,
            newlines: newlines.map(|(place, _)| place).collect(),
            problems: RefCell::default(),
            path_lines: RefCell::default(),
        }
    }

    /// The line of the byte at `place`.
    pub(super) fn line_of(&self, place: usize) -> usize {
        self.newlines.partition_point(|newline| *newline < place) + 1
    }

    /// Reports a problem.
    pub(super) fn problem(&self, line: Option<usize>, what: String, fix: impl Into<String>) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(Problem { line, what, fix: fix.into() });
        }
    }

    /// The section that is the whole file.
    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Section<'a> {
        Section::new(self, String::new(), table, None)
    }

    /// What was reported, by line, and the lines of all paths that the file names.
    pub(super) fn finish(self) -> (Vec<Problem>, BTreeMap<PathBuf, usize>) {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        (problems, self.path_lines.into_inner())
    }

    /// Makes a path absolute enough to be opened, and notes its line.
    pub(super) fn resolve(&self, path: &Located<String>) -> PathBuf {
        let resolved = self.directory.join(&path.value);
        if let Some(line) = path.line {
            self.path_lines.borrow_mut().entry(resolved.clone()).or_insert(line);
        }
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_on_the_line_it_is_on() {
        let document = Document::new("a\nb\n\nc", Path::new(""));
        let lines: Vec<usize> = (0..6).map(|place| document.line_of(place)).collect();
        assert_eq!(lines, [1, 1, 2, 2, 3, 4]);
    }
}
