//! Where a router tells of the HTTP requests that it answered.

use super::section::{Located, Section};
use std::io;
use std::path::{Path, PathBuf};

/// A log with a line for each HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file that lines are appended to, in a directory that exists.
    pub path: PathBuf,
    /// What the lines look like.
    pub format: AccessLogFormat,
}

/// What the lines of an access log look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// An object of JSON each.
    #[default]
    Json,
    /// The common log format of web servers, with referer and user agent at the end.
    Common,
}

/// Reads the section; none where there is none, or a problem in it.
pub(super) fn read(root: &Section<'_>) -> Option<AccessLogConfig> {
    let section = root.section("access_log")?;
    section.missing("path", "path = \"/var/log/understudy/access.log\"");
    let path = read_path(&section);
    let format = section.parsed("format", "use \"json\" or \"common\"", |text| match text {
        "json" => Ok(AccessLogFormat::Json),
        "common" => Ok(AccessLogFormat::Common),
        _ => Err("this is not a format".to_owned()),
    });
    section.finish(|_| None);
    Some(AccessLogConfig {
        path: path?,
        format: format.map(|format| format.value).unwrap_or_default(),
    })
}

/// The path of a file that is there already or can be made.
fn read_path(section: &Section<'_>) -> Option<PathBuf> {
    let text = section.text("path")?;
    let path = section.document.resolve(&text);
    let Located { line, .. } = text;
    let name = section.name_of("path");
    let problem = |what: String, fix: &str| section.document.problem(line, what, fix);
    if path.is_dir() {
        let what = format!("{name} is {}, which is a directory", path.display());
        problem(what, "name a file in it");
        return None;
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => return Some(path),
        Ok(_) => {
            let what = format!("{name} is in {}, not a directory", directory.display());
            problem(what, "name a file in a directory");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("{name} is in {}, which does not exist", directory.display());
            problem(
                what,
                "make the directory, or correct the path, which is relative to this file",
            );
        }
        Err(error) => {
            let what = format!("{name} is in {}: {error}", directory.display());
            problem(what, "make it accessible to this user");
        }
    }
    None
}
