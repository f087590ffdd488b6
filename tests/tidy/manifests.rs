//! The workspace's manifests, as far as the house rules ask: which packages there are, where their
//! crates begin, and what each reaches.
//!
//! Not cargo's resolver: features are followed within the workspace only, and a crate from outside it
//! is a name whose own dependencies are not looked at. Build and test dependencies do not count; those
//! of a target (`[target.'cfg(…)'.dependencies]`) do.
//! In: the `Cargo.toml` files. Out: names. Panics, saying which manifest, on what it cannot read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

/// Every package of the workspace, the root's included, and those it leaves out by name: they are the repository's too.
pub struct Workspace {
    packages: BTreeMap<String, Package>,
    /// `[workspace.dependencies]`.
    shared: Table,
}

struct Package {
    /// From the root, `""` or ending in `/`.
    folder: String,
    manifest: Table,
}

/// A dependency as a package sees it, with what the workspace says of it folded in.
struct Dependency {
    name: String,
    optional: bool,
    default_features: bool,
    features: Vec<String>,
}

fn read_manifest(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn flag(value: &Value, name: &str, otherwise: bool) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(otherwise)
}

impl Workspace {
    /// Reads the manifest at the root, those of its members, and those of packages it excludes.
    pub fn read(root: &Path) -> Self {
        let manifest = read_manifest(&root.join("Cargo.toml"));
        let workspace = manifest["workspace"].as_table().expect("the root manifest has [workspace]").clone();
        let shared = workspace["dependencies"].as_table().expect("the workspace shares dependencies").clone();
        let mut found = vec![Package { folder: String::new(), manifest }];
        let beside = strings(workspace.get("exclude"));
        for member in strings(workspace.get("members")).into_iter().chain(beside) {
            let manifest = read_manifest(&root.join(&member).join("Cargo.toml"));
            found.push(Package { folder: format!("{member}/"), manifest });
        }
        let named = |package: Package| {
            let name = package.manifest["package"]["name"].as_str().expect("a package has a name");
            (name.to_owned(), package)
        };
        Self { packages: found.into_iter().map(named).collect(), shared }
    }

    /// Names of the packages.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// Root files of each package's library and programs.
    pub fn crate_roots(&self) -> Vec<(&str, BTreeSet<String>)> {
        let roots = |package: &Package| {
            let declared = |target: &Value| target.get("path").and_then(Value::as_str).map(str::to_owned);
            let bins = package.manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
            let targets = package.manifest.get("lib").into_iter().chain(bins);
            let usual = ["src/lib.rs", "src/main.rs"].map(str::to_owned).into_iter();
            let exists = |path: &String| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
            targets
                .filter_map(declared)
                .chain(usual)
                .map(|path| format!("{}{path}", package.folder))
                .filter(exists)
                .collect()
        };
        self.packages.iter().map(|(name, package)| (name.as_str(), roots(package))).collect()
    }

    /// What a package reaches, each with the route to it; nothing if the workspace has no such package.
    pub fn reached(&self, package: &str, default_features: bool) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        self.follow(package, default_features, &[], package, &mut reached);
        reached
    }

    fn follow(
        &self,
        name: &str,
        default_features: bool,
        features: &[String],
        route: &str,
        reached: &mut BTreeMap<String, String>,
    ) {
        let Some(package) = self.packages.get(name) else { return };
        let mut wanted = features.to_vec();
        if default_features {
            wanted.push("default".to_owned());
        }
        let enabled = package.enabled(wanted);
        for dependency in self.dependencies(package) {
            if dependency.optional && !enabled.contains(&format!("dep:{}", dependency.name)) {
                continue;
            }
            let route = format!("{route} → {}", dependency.name);
            reached.entry(dependency.name.clone()).or_insert_with(|| route.clone());
            self.follow(&dependency.name, dependency.default_features, &dependency.features, &route, reached);
        }
    }

    fn dependencies(&self, package: &Package) -> Vec<Dependency> {
        let targets = package.manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
        let of_targets = targets.filter_map(|target| target.get("dependencies"));
        let tables = package.manifest.get("dependencies").into_iter().chain(of_targets).filter_map(Value::as_table);
        tables.flatten().map(|(name, here)| self.dependency(name, here)).collect()
    }

    fn dependency(&self, name: &str, here: &Value) -> Dependency {
        let nothing = Value::Table(Table::new());
        let inherited = flag(here, "workspace", false);
        let shared = if inherited { self.shared.get(name).unwrap_or(&nothing) } else { &nothing };
        let renamed = here.get("package").or_else(|| shared.get("package")).and_then(Value::as_str);
        // Cargo lets a member switch default features on, never off, against what the workspace says.
        let default_features = if inherited {
            flag(shared, "default-features", true) || flag(here, "default-features", false)
        } else {
            flag(here, "default-features", true)
        };
        let features = [strings(shared.get("features")), strings(here.get("features"))].concat();
        let optional = flag(here, "optional", false);
        Dependency { name: renamed.unwrap_or(name).to_owned(), optional, default_features, features }
    }
}

impl Package {
    /// The features that these switch on, themselves and `dep:` entries included.
    fn enabled(&self, mut wanted: Vec<String>) -> BTreeSet<String> {
        let mut enabled = BTreeSet::new();
        while let Some(feature) = wanted.pop() {
            // `crate/feature` switches the crate on, `crate?/feature` does not.
            if let Some((name, _)) = feature.split_once('/') {
                wanted.extend((!name.ends_with('?')).then(|| format!("dep:{name}")));
            } else if enabled.insert(feature.clone()) {
                wanted.extend(strings(self.manifest.get("features").and_then(|table| table.get(&feature))));
            }
        }
        enabled
    }
}
