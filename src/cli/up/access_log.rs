//! The access log of a router, as an argument.

use super::{Arguments, Failure};
use std::path::Path;

/// Reads the path of a file that is there or can be made; gives an absolute one.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let name = path.file_name().filter(|_| !path.is_dir()).ok_or("name a file")?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let absolute = directory.unwrap_or(Path::new(".")).canonicalize();
    let absolute = absolute.map_err(|error| format!("its directory: {error}; make it first"))?;
    let path = absolute.join(name).into_os_string().into_string();
    path.map_err(|_| "its path is not UTF-8 and cannot be written to a file".to_owned())
}

/// The log that was asked for. There can be one for one router only: each takes its file for its
/// own, and repairs what a full disk does to it.
pub(super) fn of(arguments: &Arguments) -> Result<Option<String>, Failure> {
    if arguments.access_log.is_some() && arguments.routers > 1 {
        let why = "--access-log is for one router: each needs a file of its own, so leave \
                   --routers out, or name files in the configurations of routers that you start \
                   by 'understudy router'";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(arguments.access_log.clone())
}
