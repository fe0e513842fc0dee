//! Where packages come from: the Debian mirror that the system's own apt uses.
//!
//! Reads the system's source lists only; no host name is built in.

use std::fs;
use std::path::Path;

/// Code names and aliases that mark a source as the Debian archive itself.
const SUITES: &[&str] =
    &["bullseye", "bookworm", "trixie", "forky", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable"];

/// The mirror that the system's apt sources name first, e.g. `https://mirror.example/debian`.
#[must_use]
pub fn system_mirror(etc_apt: &Path) -> Option<String> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    files.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        match path.extension()?.to_str()? {
            "list" => from_lines(&text),
            "sources" => from_stanzas(&text),
            _ => None,
        }
    })
}

fn is_debian(uri: &str, suite: &str, components: &str) -> bool {
    let release = suite.split(['-', '/']).next().unwrap_or_default();
    SUITES.contains(&release)
        && !suite.contains("security")
        && components.split_whitespace().any(|component| component == "main")
        && (uri.starts_with("http://") || uri.starts_with("https://") || uri.starts_with("file:"))
        && uri.trim_end_matches('/').ends_with("/debian")
}

/// One-line format: `deb [options] uri suite component...`.
fn from_lines(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1.trim_start(),
            None => rest,
        };
        let (uri, rest) = rest.split_once(char::is_whitespace)?;
        let (suite, components) = rest.trim_start().split_once(char::is_whitespace)?;
        is_debian(uri, suite, components).then(|| uri.trim_end_matches('/').to_owned())
    })
}

/// Stanza format: `Types:`, `URIs:`, `Suites:`, `Components:`, separated by empty lines.
fn from_stanzas(text: &str) -> Option<String> {
    let text: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    text.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let enabled = field("Enabled").is_none_or(|value| value != "no");
        if !enabled || !field("Types")?.split_whitespace().any(|kind| kind == "deb") {
            return None;
        }
        let components = field("Components")?;
        let suites = field("Suites")?;
        field("URIs")?
            .split_whitespace()
            .find(|uri| suites.split_whitespace().any(|suite| is_debian(uri, suite, components)))
            .map(|uri| uri.trim_end_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_either_format() {
        let lines = "# comment\ndeb http://a.example/debian-security trixie-security main\n\
                     deb [arch=amd64 signed-by=/x] https://b.example/debian/ trixie main contrib\n";
        assert_eq!(from_lines(lines).as_deref(), Some("https://b.example/debian"));
        let stanzas = "Types: deb\nURIs: http://c.example/node\nSuites: nodistro\nComponents: main\n\n\
                       Types: deb deb-src\n# note\nURIs: http://d.example/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\n";
        assert_eq!(from_stanzas(stanzas).as_deref(), Some("http://d.example/debian"));
    }

    #[test]
    fn other_archives_and_disabled_sources_are_passed_over() {
        assert_eq!(
            from_lines("deb http://u.example/ubuntu noble main\ndeb-src http://d.example/debian sid main"),
            None
        );
        assert_eq!(from_lines("deb http://d.example/debian-security trixie-security main"), None);
        let disabled = "Enabled: no\nTypes: deb\nURIs: http://d.example/debian\nSuites: sid\nComponents: main";
        assert_eq!(from_stanzas(disabled), None);
    }

    #[test]
    fn the_first_file_with_a_debian_archive_wins() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        assert_eq!(system_mirror(folder.path()), None);
        fs::write(folder.path().join("sources.list.d/z.list"), "deb http://z.example/debian sid main\n").unwrap();
        fs::write(folder.path().join("sources.list.d/a.list"), "deb http://other.example/apt sid main\n").unwrap();
        assert_eq!(system_mirror(folder.path()).as_deref(), Some("http://z.example/debian"));
    }
}
