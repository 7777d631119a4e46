//! Arguments, checked: what to get, from whom, and where to.

use super::Arguments;
use super::output::SinkConfig;
use crate::cli::report::Failure;
use crate::cli::target::{key, keys_of};
use crate::net::client::{ClientConfig, ValidatorPolicy};
use crate::wire::Key;
use std::io::Read;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: ClientConfig,
    /// At least one, unless all that is in the cache is wanted.
    pub(super) keys: Vec<Key>,
    /// Also all that is in the cache.
    pub(super) all: bool,
    pub(super) policy: ValidatorPolicy,
    pub(super) sink: SinkConfig,
    pub(super) json: bool,
    pub(super) repeat: u64,
}

impl Plan {
    /// Checks the arguments, reads the keys, and looks up the routers.
    pub(super) fn new(arguments: Arguments, stdin: &mut impl Read) -> Result<Self, Failure> {
        let keys = keys(&arguments, stdin)?;
        let sink = sink(&arguments, keys.len())?;
        let config = arguments.connection.config()?;
        let (json, all, repeat) = (arguments.json, arguments.all, arguments.repeat);
        let policy = arguments.validator.into();
        Ok(Self { config, keys, all, policy, sink, json, repeat })
    }
}

fn keys(arguments: &Arguments, stdin: &mut impl Read) -> Result<Vec<Key>, Failure> {
    let given = arguments.given.iter().map(|text| key(text).map_err(Failure::Usage));
    let mut keys = given.collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &arguments.keys {
        keys.extend(keys_of(path, stdin)?);
    }
    match keys.is_empty() && !arguments.all {
        true => Err(Failure::Usage("no key was given: name one, such as '/'".to_owned())),
        false => Ok(keys),
    }
}

fn sink(arguments: &Arguments, keys: usize) -> Result<SinkConfig, Failure> {
    Ok(match (&arguments.output, &arguments.output_dir) {
        (Some(_), _) if keys > 1 => {
            let text = format!("--output is for one key, and there are {keys}: use --output-dir");
            return Err(Failure::Usage(text));
        }
        (Some(file), _) => SinkConfig::File(file.clone()),
        (None, Some(directory)) => SinkConfig::Directory(directory.clone()),
        (None, None) if arguments.json || arguments.all => SinkConfig::Nowhere,
        (None, None) if keys > 1 => {
            let text = format!(
                "standard output is for one key, and there are {keys}: use --output-dir DIR, or \
                 --json to see only what came"
            );
            return Err(Failure::Usage(text));
        }
        (None, None) => SinkConfig::Stdout,
    })
}
