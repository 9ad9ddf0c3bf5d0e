//! From files to a [`DaemonConfig`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ike::config::{Config, NamedPpk, Shard};
use ike::pool::PoolConfig;
use toml::Spanned;
use toml::de::DeTable;
use zeroize::Zeroizing;

use super::connection::{self, Surroundings};
use super::diagnostic::{ConfigErrors, Findings, Place, one_of};
use super::reader::{Section, Wrong};
use super::secret::{self, Secret};
use super::source::Source;
use super::value::check_name;
use super::{ConnectionSettings, DaemonConfig, daemon, pool};
use crate::userspace;

/// The largest file that is read, in octets.
const MAX_FILE: usize = 1024 * 1024;

/// What a configuration refers to besides its files.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Environment {
    /// Where relative paths of secrets, keys and certificates begin.
    pub directory: PathBuf,
    /// Where systemd puts credentials: `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// Whether the data plane can do transport mode.
    pub transport: bool,
}

/// Reads `file` and `conf.d/*.toml` beside it, in the order of their names.
///
/// # Errors
/// All mistakes that were found.
pub fn load(file: &Path) -> Result<DaemonConfig, ConfigErrors> {
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let mut sources = vec![read(file)?];
    for file in more_files(&directory)? {
        sources.push(read(&file)?);
    }
    let transport = userspace::TRANSPORT;
    assemble(&sources, &Environment { directory, credentials, transport })
}

fn more_files(directory: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let directory = directory.join("conf.d");
    let failed = |error| cannot_read(&directory, error);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Source, ConfigErrors> {
    let (octets, mode) =
        secret::read_bounded(path, MAX_FILE).map_err(|error| cannot_read(path, error))?;
    let name = path.display().to_string();
    match std::str::from_utf8(&octets) {
        Ok(text) => Ok(Source::new(name, Zeroizing::new(text.to_owned()), mode & 0o007 != 0)),
        Err(error) => {
            let line = octets.iter().take(error.valid_up_to()).filter(|&&it| it == b'\n').count();
            Err(ConfigErrors::about_file(&name, format_args!("line {} is not UTF-8", line + 1)))
        }
    }
}

fn cannot_read(path: &Path, error: io::Error) -> ConfigErrors {
    ConfigErrors::about_file(&path.display().to_string(), format_args!("cannot be read: {error}"))
}

/// What the files say together.
pub(super) fn assemble(
    sources: &[Source],
    environment: &Environment,
) -> Result<DaemonConfig, ConfigErrors> {
    let mut findings = Findings::default();
    let mut tables = parse(sources, &mut findings);
    let config =
        if findings.is_good() { join(sources, &tables, environment, &mut findings) } else { None };
    for table in &mut tables {
        secret::wipe(table.get_mut());
    }
    match config {
        Some(config) if findings.is_good() => {
            Ok(DaemonConfig { warnings: findings.into_warnings(sources), ..config })
        }
        Some(_) | None => Err(findings.into_errors(sources)),
    }
}

fn parse<'a>(sources: &'a [Source], findings: &mut Findings) -> Vec<Spanned<DeTable<'a>>> {
    let mut tables = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            findings.error(&Place::new(file, &span), error.message(), "");
        }
        tables.push(table);
    }
    tables
}

fn join(
    sources: &[Source],
    tables: &[Spanned<DeTable<'_>>],
    environment: &Environment,
    findings: &mut Findings,
) -> Option<DaemonConfig> {
    let mut roots: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(file, table)| {
            let place = Place::new(file, &(0..0));
            Section::new("the configuration".to_owned(), place, table.get_ref())
        })
        .collect();
    let settings = once(&mut roots, "daemon", findings, daemon::daemon).unwrap_or_default();
    let limits = once(&mut roots, "limits", findings, daemon::limits).unwrap_or_default();
    let retransmission =
        once(&mut roots, "retransmission", findings, daemon::retransmission).unwrap_or_default();
    let tickets = once(&mut roots, "tickets", findings, daemon::tickets).unwrap_or_default();
    let (secrets, secrets_are_good) = secrets(sources, &mut roots, environment, findings);
    let (ppks, ppks_are_good) = ppks(sources, &mut roots, environment, findings);
    let (pools, pools_are_good) = pools(&mut roots, findings);
    let around = Surroundings {
        listen: &settings.listen,
        tickets,
        secrets: &secrets,
        secrets_are_good,
        ppks: &ppks,
        ppks_are_good,
        pools: &pools,
        pools_are_good,
        environment,
    };
    let mut templates = named(&mut roots, "templates", findings);
    for (name, template) in &mut templates {
        if let Err(wrong) = check_name(name) {
            wrong.report(&template.place, findings);
        }
        template.refuse(findings, "template", "cannot be here: a template has no template");
    }
    let connections = connections(&mut roots, &templates, &around, findings);
    for root in roots {
        root.finish(findings);
    }
    let (connections, machine) = connections?;
    let ike = Config {
        connections,
        pools,
        retransmission,
        limits,
        shard: Shard::default(),
        port: settings.port,
        nat_port: settings.nat_port,
        ticket_key_rotation: tickets.rotate,
        // The daemon has it from its state.
        crash_key: None,
    };
    let warnings = Vec::new();
    Some(DaemonConfig { daemon: settings, tickets, connections: machine, ike, warnings })
}

/// A section that may be in one of the files.
fn once<'a, T>(
    roots: &mut [Section<'a>],
    key: &'static str,
    findings: &mut Findings,
    read: impl Fn(Section<'a>, &mut Findings) -> T,
) -> Option<T> {
    let mut first = None;
    for root in roots {
        match root.section(findings, key) {
            Some(again) if first.is_some() => {
                let message = format!("{} is in another file already", again.title);
                findings.error(&again.place, message, "put them together");
            }
            Some(section) => first = Some(read(section, findings)),
            None => {}
        }
    }
    first
}

fn secrets(
    sources: &[Source],
    roots: &mut [Section<'_>],
    environment: &Environment,
    findings: &mut Findings,
) -> (Vec<Secret>, bool) {
    let mut secrets = Vec::new();
    let mut all_good = true;
    for (name, section) in named(roots, "secrets", findings) {
        if let Err(wrong) = check_name(name) {
            wrong.report(&section.place, findings);
        }
        let is_open = sources.get(section.place.file).is_some_and(|source| source.is_open);
        match secret::read(section, is_open, environment, findings) {
            Some(secret) => secrets.push(secret),
            None => all_good = false,
        }
    }
    (secrets, all_good)
}

/// The post-quantum pre-shared keys, and whether all could be read.
fn ppks(
    sources: &[Source],
    roots: &mut [Section<'_>],
    environment: &Environment,
    findings: &mut Findings,
) -> (Vec<Arc<NamedPpk>>, bool) {
    let mut ppks: Vec<Arc<NamedPpk>> = Vec::new();
    let mut all_good = true;
    for (_, section) in named(roots, "ppks", findings) {
        let is_open = sources.get(section.place.file).is_some_and(|source| source.is_open);
        let place = section.place.clone();
        match secret::read_ppk(section, is_open, environment, findings) {
            Some(ppk) if ppks.iter().any(|other| other.id == ppk.id) => {
                findings.error(&place, format!("there is another PPK \"{}\"", ppk.id), "");
                all_good = false;
            }
            Some(ppk) => ppks.push(Arc::new(ppk)),
            None => all_good = false,
        }
    }
    (ppks, all_good)
}

/// The pools, and whether all could be read.
fn pools(roots: &mut [Section<'_>], findings: &mut Findings) -> (Vec<PoolConfig>, bool) {
    let sections = named(roots, "pools", findings);
    let count = sections.len();
    let read = |(name, section)| pool::read(name, section, findings);
    let pools: Vec<_> = sections.into_iter().filter_map(read).collect();
    pool::check_overlaps(&pools, findings);
    let all_good = pools.len() == count;
    (pools.into_iter().map(|pool| pool.config).collect(), all_good)
}

type Connections = (Vec<Arc<ike::config::Connection>>, Vec<ConnectionSettings>);

fn connections<'a>(
    roots: &mut [Section<'a>],
    templates: &[(&'a str, Section<'a>)],
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Option<Connections> {
    let sections = named(roots, "connections", findings);
    let mut unused: BTreeSet<_> = templates.iter().map(|(name, _)| *name).collect();
    if sections.is_empty() && findings.is_good() {
        findings.missing("there is no connection", "add a section [connections.NAME]");
    }
    let mut both = (Vec::new(), Vec::new());
    let mut all_good = true;
    for (name, mut section) in sections {
        let is_based = section.has("template");
        match template(&mut section, templates, findings) {
            Some((used, template)) => {
                unused.remove(used);
                section.inherit(template);
            }
            None if is_based => {
                // What it lacks may be in the template that was meant.
                all_good = false;
                continue;
            }
            None => {}
        }
        match connection::read(name, section, around, findings) {
            Some((connection, settings)) => {
                both.0.push(Arc::new(connection));
                both.1.push(settings);
            }
            None => all_good = false,
        }
    }
    for (_, section) in templates.iter().filter(|(name, _)| unused.contains(name)) {
        let message = format!("no connection uses {}", section.title);
        findings.warning(&section.place, message, "");
    }
    all_good.then_some(both)
}

/// The template that a connection names.
fn template<'t, 'a>(
    section: &mut Section<'a>,
    templates: &'t [(&'a str, Section<'a>)],
    findings: &mut Findings,
) -> Option<&'t (&'a str, Section<'a>)> {
    section.get(findings, "template", |item| {
        let name = item.text()?;
        templates.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<_> = templates.iter().map(|(name, _)| *name).collect();
            let help = if known.is_empty() {
                "add a section [templates.NAME]".to_owned()
            } else {
                one_of(name, &known)
            };
            Wrong::new(format!("there is no template \"{name}\""), help)
        })
    })
}

/// The sections `[key.NAME]` of all files, in their order, each name once.
fn named<'a>(
    roots: &mut [Section<'a>],
    key: &'static str,
    findings: &mut Findings,
) -> Vec<(&'a str, Section<'a>)> {
    let mut seen = BTreeSet::new();
    let mut sections = Vec::new();
    for root in roots {
        for (name, section) in root.sections(findings, key) {
            if !seen.insert(name) {
                let message = format!("{} is in another file already", section.title);
                findings.error(&section.place, message, "use another name");
            } else {
                sections.push((name, section));
            }
        }
    }
    sections
}
