//! `understudy check`: what is wrong with a configuration, before anything is started with it.

use super::report;
use crate::config::{Config, ConfigErrors, Located, Problem, SourceConfig, load_located};
use crate::net::tls::{Backplane, TlsError, public_server};
use crate::wire::backplane::Role;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration files of routers and servers
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    config: Vec<PathBuf>,
    /// Print one JSON object a file: file, ok, role, name, problems [{line, what, fix}]
    #[arg(long)]
    json: bool,
}

/// Checks every file; succeeds if all are fine.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let mut all_fine = true;
    for path in &arguments.config {
        let checked = check(path);
        all_fine &= checked.is_ok();
        let text = match arguments.json {
            true => format!("{}\n", as_json(path, &checked)),
            false => format!("{}\n", as_text(path, &checked)),
        };
        if let Err(failure) = report::print(&text) {
            return failure.report();
        }
    }
    if all_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads a configuration and the certificates it names.
fn check(path: &Path) -> Result<Config, ConfigErrors> {
    let Located { config, path_lines } = load_located(path)?;
    let mut problems: Vec<Problem> = certificate_errors(&config)
        .into_iter()
        .map(|TlsError { file, what, fix }| Problem {
            line: path_lines.get(&file).copied(),
            what: format!("{}: {what}", file.display()),
            fix,
        })
        .collect();
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort();
    Err(ConfigErrors { file: path.to_owned(), problems })
}

fn certificate_errors(config: &Config) -> Vec<TlsError> {
    let (public, backplane) = match config {
        Config::Router(router) => {
            let public = public_server(&router.tls.cert, &router.tls.key, &[]);
            (public.err(), Backplane::load(&router.backplane, Role::Router, &router.name))
        }
        Config::Server(server) => {
            (None, Backplane::load(&server.backplane, Role::Server, &server.name))
        }
    };
    public.into_iter().chain(backplane.err()).collect()
}

fn as_text(path: &Path, checked: &Result<Config, ConfigErrors>) -> String {
    match checked {
        Ok(config) => format!("{}: ok ({})", path.display(), summary(config)),
        Err(errors) => errors.to_string(),
    }
}

fn summary(config: &Config) -> String {
    match config {
        Config::Router(router) => {
            let seeds = match router.seeds.len() {
                1 => "1 seed".to_owned(),
                many => format!("{many} seeds"),
            };
            format!("router {:?}, clients at {}, {seeds}", router.name.as_str(), router.listen)
        }
        Config::Server(server) => {
            let source = match &server.pool.source {
                SourceConfig::Directory { dir, .. } => dir.display().to_string(),
                SourceConfig::Http { url, .. } => url.to_string(),
                SourceConfig::Sample => "the built-in sample".to_owned(),
                SourceConfig::Program => "the program that runs it".to_owned(),
            };
            let name = server.name.as_str();
            format!("server {name:?}, backplane at {}, items from {source}", server.listen)
        }
    }
}

fn as_json(path: &Path, checked: &Result<Config, ConfigErrors>) -> serde_json::Value {
    let file = path.display().to_string();
    match checked {
        Ok(config) => json!({
            "file": file,
            "ok": true,
            "role": config.role().as_str(),
            "name": config.name().as_str(),
            "problems": [],
        }),
        Err(errors) => {
            let problems: Vec<_> = errors.problems.iter().map(problem_as_json).collect();
            json!({ "file": file, "ok": false, "role": null, "name": null, "problems": problems })
        }
    }
}

fn problem_as_json(Problem { line, what, fix }: &Problem) -> serde_json::Value {
    json!({ "line": line, "what": what, "fix": fix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::bundled;

    const ROUTER: &str = r#"
listen = "127.0.0.1:4433"
seeds = ["127.0.0.1:4443"]
[tls]
cert = "server.pem"
key = "server.key"
[backplane]
ca = "backplane-ca.pem"
cert = "backplane-router.pem"
key = "backplane-router.key"
"#;

    fn checked(text: &str) -> (Result<Config, ConfigErrors>, String) {
        let directory = tempfile::tempdir().unwrap();
        bundled::write_to(directory.path()).unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let checked = check(&path);
        let said = as_text(&path, &checked);
        (checked, said.replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let (checked, said) = checked(ROUTER);
        assert_eq!(said, "x.toml: ok (router \"router-1\", clients at 127.0.0.1:4433, 1 seed)");
        let json = as_json(Path::new("x.toml"), &checked);
        assert_eq!(
            json.to_string(),
            r#"{"file":"x.toml","name":"router-1","ok":true,"problems":[],"role":"router"}"#
        );
    }

    #[test]
    fn certificates_are_judged_and_found_by_line() {
        let swapped = ROUTER.replace("server.key", "backplane-router.key").replace(
            "cert = \"backplane-router.pem\"\nkey = \"backplane-router.key\"",
            "cert = \"backplane-server.pem\"\nkey = \"backplane-server.key\"",
        );
        let (checked, said) = checked(&swapped);
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "x.toml:6: backplane-router.key: this key does not belong to the certificate in \
                 server.pem: name the two files that were made together",
                "x.toml:9: backplane-server.pem: its certificate is not for router router-1, but \
                 for *.server.understudy.internal: name another, or make one by 'understudy certs \
                 new --out certs --router router-1'",
            ]
        );
        let json = as_json(Path::new("x.toml"), &checked);
        assert_eq!((&json["ok"], &json["role"]), (&json!(false), &json!(null)));
        assert_eq!(json["problems"][1]["line"], 9);
        assert_eq!(json["problems"][0]["fix"], "name the two files that were made together");
    }

    #[test]
    fn one_bad_file_fails_the_lot() {
        let directory = tempfile::tempdir().unwrap();
        bundled::write_to(directory.path()).unwrap();
        let good = directory.path().join("good.toml");
        std::fs::write(&good, ROUTER).unwrap();
        let missing = directory.path().join("missing.toml");
        let run = |config: &[&PathBuf]| {
            let config = config.iter().map(|path| path.to_path_buf()).collect();
            format!("{:?}", run(Arguments { config, json: true }))
        };
        assert_eq!(run(&[&good, &good]), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(run(&[&good, &missing, &good]), format!("{:?}", ExitCode::FAILURE));
    }
}
