//! What a repository owes its readers besides code.

use std::fs;
use std::path::{Path, PathBuf};

/// Beyond that nobody reads it.
const ARCHITECTURE_LINES_MAX: usize = 300;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names
        .collect::<std::io::Result<Vec<_>>>()
        .expect("a directory can be read to its end");
    names.sort();
    names
}

#[test]
fn what_a_newcomer_looks_for_is_there() {
    for path in [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
    ] {
        assert!(!read(path).trim().is_empty(), "{path} is empty");
    }
    assert!(
        read("CHANGELOG.md").contains("## [Unreleased]"),
        "the changelog has no place for what comes next"
    );
}

#[test]
fn the_architecture_is_short_and_names_every_crate() {
    let architecture = read("ARCHITECTURE.md");
    let lines = architecture.lines().count();
    assert!(lines < ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {lines} lines");
    let is_named = |name: &str| {
        let forms = [format!("`{name}`"), format!("{name}/"), format!("/{name}`")];
        forms.iter().any(|form| architecture.contains(form))
    };
    let crates = names(&root().join("crates")).into_iter().chain(["xtask".to_owned()]);
    let missing: Vec<_> = crates.filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
}

#[test]
fn every_decision_is_linked_from_the_list_of_decisions() {
    let list = read("docs/decisions/README.md");
    let decisions = names(&root().join("docs/decisions"))
        .into_iter()
        .filter(|name| name != "README.md");
    let unlinked: Vec<_> = decisions.filter(|name| !list.contains(&format!("]({name})"))).collect();
    assert!(
        unlinked.is_empty(),
        "docs/decisions/README.md does not link {unlinked:?}"
    );
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = pages(&root());
    assert!(
        pages.iter().any(|page| page.ends_with("CONTRIBUTING.md")),
        "pages are not found: {pages:?}"
    );
    let mut broken = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let file = link.split('#').next().unwrap_or_default();
            let is_outside = link.contains("://") || link.starts_with("mailto:") || link.starts_with('/');
            if !is_outside && !file.is_empty() && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Every Markdown file that is written here, rather than built or generated.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for name in names(directory) {
        let path = directory.join(&name);
        if name.ends_with(".md") {
            pages.push(path);
        } else if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            pages.extend(self::pages(&path));
        }
    }
    pages
}

#[test]
fn the_example_environment_has_every_setting_as_the_binary_declares_it() {
    let settings = settings(&read("crates/tradewind/src/config.rs"));
    assert!(settings.len() > 10, "the settings are not found: {settings:?}");
    let example = read(".env.example");
    let missing: Vec<_> = settings
        .iter()
        .map(Setting::example)
        .filter(|block| !example.contains(block))
        .collect();
    assert!(missing.is_empty(), "write into .env.example:\n\n{}", missing.join("\n"));
    let shown = example.lines().filter(|line| line.starts_with("#TRADEWIND_")).count();
    assert_eq!(shown, settings.len(), ".env.example has settings that are gone");
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Setting {
    name: String,
    default: String,
    meaning: Vec<String>,
}

impl Setting {
    /// What it means, and the variable with its default, commented out.
    fn example(&self) -> String {
        let meaning: String = self.meaning.iter().map(|line| format!("# {line}\n")).collect();
        format!("{meaning}#TRADEWIND_{}={}\n", self.name.to_uppercase(), self.default)
    }
}

/// Reads `/// meaning` and `name: Type = "default";` in the list of settings.
fn settings(source: &str) -> Vec<Setting> {
    let (_, list) = source
        .split_once("\nsettings! {")
        .expect("config.rs declares its settings with settings!");
    let (list, _) = list.split_once("\n}").expect("the list of settings ends");
    let mut settings = Vec::new();
    let mut setting = Setting::default();
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(meaning) = line.strip_prefix("///") {
            setting.meaning.push(meaning.trim().to_owned());
        } else {
            let (name, rest) = line.split_once(':').unwrap_or_else(|| panic!("not a setting: {line}"));
            let (_, default) = rest.split_once('"').unwrap_or_else(|| panic!("no default: {line}"));
            setting.name = name.to_owned();
            setting.default = default.trim_end_matches(';').trim_end_matches('"').to_owned();
            settings.push(std::mem::take(&mut setting));
        }
    }
    settings
}

#[test]
fn settings_are_read_from_their_declaration() {
    let source =
        "macro_rules! settings {}\nsettings! {\n    /// Where.\n    /// Port 0 too.\n    listen: a::B = \"x:0\";\n}\n";
    let [setting] = settings(source).try_into().unwrap();
    assert_eq!(setting.example(), "# Where.\n# Port 0 too.\n#TRADEWIND_LISTEN=x:0\n");
}
