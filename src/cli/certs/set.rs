//! One set of certificates: what is in it, and what each file is for.

use crate::wire::Name;
use crate::wire::backplane::Role;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{DnsName, UnixTime};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// How far back certificates are valid: clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a common name, at the most.
const MAX_COMMON_NAME: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What clients reach a router by: an IP address or a DNS name, which may start with `*.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(String);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if text.parse::<IpAddr>().is_err() && DnsName::try_from(name).is_err() {
            return Err("it is neither an IP address nor a DNS name".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked for.
pub(super) struct Plan {
    /// What clients reach routers by.
    pub(super) hosts: Vec<Host>,
    /// Routers that get a certificate of their own; one for all of them where none is named.
    pub(super) routers: Vec<Name>,
    /// The same of servers.
    pub(super) servers: Vec<Name>,
    /// How long all are valid.
    pub(super) days: u32,
}

impl Plan {
    /// The command that makes such a set.
    fn command(&self) -> String {
        let mut command = format!("understudy certs new --out certs --days {}", self.days);
        for host in &self.hosts {
            // A shell would take the star for itself.
            let quote = if host.0.starts_with('*') { "'" } else { "" };
            command.push_str(&format!(" --name {quote}{host}{quote}"));
        }
        self.routers.iter().for_each(|name| command.push_str(&format!(" --router {name}")));
        self.servers.iter().for_each(|name| command.push_str(&format!(" --server {name}")));
        command
    }
}

/// One file of a set.
pub(super) struct MadeFile {
    pub(super) name: String,
    pub(super) contents: String,
    pub(super) is_key: bool,
    pub(super) what: String,
    pub(super) goes_to: String,
}

/// A set, before it is written.
pub(super) struct MadeSet {
    pub(super) files: Vec<MadeFile>,
    /// The last day, as `2030-12-31`.
    pub(super) valid_until: String,
}

/// A CA, as long as its key lives: until the set is made.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Makes all certificates and keys of a plan, valid from `now`.
pub(super) fn make(plan: &Plan, now: UnixTime) -> Result<MadeSet, rcgen::Error> {
    let template = template(Duration::from_secs(now.as_secs()), plan.days);
    let mut files = Vec::new();
    add_public(&mut files, plan, &template)?;
    let backplane = authority("Understudy backplane CA", &template)?;
    files.push(MadeFile {
        name: "backplane-ca.pem".to_owned(),
        contents: backplane.pem.clone(),
        is_key: false,
        what: "the CA of the backplane".to_owned(),
        goes_to: "every router and server, as ca in [backplane]".to_owned(),
    });
    for (role, names) in [(Role::Router, &plan.routers), (Role::Server, &plan.servers)] {
        if names.is_empty() {
            add_member(&mut files, &backplane, &template, role, None)?;
        }
        for name in names {
            add_member(&mut files, &backplane, &template, role, Some(name))?;
        }
    }
    let valid_until = template.not_after.date().to_string();
    let readme = readme(&files, plan, &valid_until);
    files.push(MadeFile {
        name: "README.md".to_owned(),
        contents: readme,
        is_key: false,
        what: "this list".to_owned(),
        goes_to: "you".to_owned(),
    });
    Ok(MadeSet { files, valid_until })
}

fn add_public(
    files: &mut Vec<MadeFile>,
    plan: &Plan,
    template: &CertificateParams,
) -> Result<(), rcgen::Error> {
    let ca = authority("Understudy public CA", template)?;
    let hosts: Vec<String> = plan.hosts.iter().map(Host::to_string).collect();
    let usages = [ExtendedKeyUsagePurpose::ServerAuth];
    let (cert, key) = leaf(template, hosts.clone(), &usages, &ca)?;
    let what = format!("the public certificate, for {}", hosts.join(", "));
    let mut add = |name: &str, contents, is_key, what: &str, goes_to: &str| {
        let (name, what, goes_to) = (name.to_owned(), what.to_owned(), goes_to.to_owned());
        files.push(MadeFile { name, contents, is_key, what, goes_to });
    };
    add("ca.pem", ca.pem, false, "the CA of the public certificate", "clients, as --ca");
    add("server.pem", cert, false, &what, "every router, as cert in [tls]");
    add("server.key", key, true, "its key", "every router, as key in [tls]");
    Ok(())
}

/// Adds the certificate of one member of the backplane, or of all that have the role.
fn add_member(
    files: &mut Vec<MadeFile>,
    ca: &Authority,
    template: &CertificateParams,
    role: Role,
    name: Option<&Name>,
) -> Result<(), rcgen::Error> {
    let word = role.as_str();
    let (stem, label, whose, holder) = match name {
        Some(name) => (
            format!("{word}-{name}"),
            name.to_string(),
            format!("for the {word} {name} on the backplane"),
            format!("the {word} {name}"),
        ),
        None => (
            format!("backplane-{word}"),
            "*".to_owned(),
            format!("for any {word} on the backplane"),
            format!("every {word}"),
        ),
    };
    let full_name = format!("{label}.{word}.understudy.internal");
    // Members both dial and are dialled.
    let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let (cert, key) = leaf(template, vec![full_name], &usages, ca)?;
    files.push(MadeFile {
        name: format!("{stem}.pem"),
        contents: cert,
        is_key: false,
        what: format!("the certificate {whose}"),
        goes_to: format!("{holder}, as cert in [backplane]"),
    });
    files.push(MadeFile {
        name: format!("{stem}.key"),
        contents: key,
        is_key: true,
        what: "its key".to_owned(),
        goes_to: format!("{holder}, as key in [backplane]"),
    });
    Ok(())
}

/// What all certificates of a set have in common: from when to when they are valid.
fn template(now: Duration, days: u32) -> CertificateParams {
    let now = rcgen::date_time_ymd(1970, 1, 1) + now;
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + DAY * days;
    params.distinguished_name = DistinguishedName::new();
    params
}

/// Makes a CA. Its name has a part of its own, so that two sets are never taken for one.
fn authority(what: &str, template: &CertificateParams) -> Result<Authority, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = template.clone();
    let own: String =
        params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("{what} {own}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key)?.pem();
    Ok(Authority { pem, issuer: Issuer::new(params, key) })
}

/// Makes a certificate and its key, both as PEM.
fn leaf(
    template: &CertificateParams,
    names: Vec<String>,
    usages: &[ExtendedKeyUsagePurpose],
    ca: &Authority,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = template.clone();
    params.subject_alt_names = CertificateParams::new(names.clone())?.subject_alt_names;
    // The common name is for people; it may have 64 characters at the most (RFC 5280).
    let common_name = names.into_iter().find(|name| name.len() <= MAX_COMMON_NAME);
    let common_name = common_name.unwrap_or_else(|| "Understudy".to_owned());
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    let cert = params.signed_by(&key, &ca.issuer)?.pem();
    Ok((cert, key.serialize_pem()))
}

/// What the directory says of itself.
fn readme(files: &[MadeFile], plan: &Plan, valid_until: &str) -> String {
    let mut text = format!(
        "# Certificates\n\nValid until {valid_until}. Made by\n\n    {}\n\n\
         | file | what it is | who needs it |\n|---|---|---|\n",
        plan.command()
    );
    for file in files {
        text.push_str(&format!("| `{}` | {} | {} |\n", file.name, file.what, file.goes_to));
    }
    text.push_str(
        "\nThe public certificate and the backplane have a CA each, so that what clients see opens \
         no door to\nthe backplane. The keys of both CAs were thrown away: nobody can add a \
         certificate to this set. To\nadd or renew one, make a new set and hand it out anew. Keep \
         the `.key` files secret.\n",
    );
    text
}
