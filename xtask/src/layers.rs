//! The layer table of docs/architecture.md, held to the manifests.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo::{packages, text, workspace};

/// The features of Burn that are backends, or belong to one.
const BACKEND_FEATURES: [&str; 12] = [
    "flex", "simd", "rayon", "wgpu", "vulkan", "metal", "cuda", "rocm", "cpu", "fusion",
    "autotune", "webgpu",
];

/// The library that has every other one as a feature.
pub const FACADE: &str = "emberline";

/// What a row lets a crate use.
#[derive(Debug, PartialEq)]
struct Allowed {
    ours: Vec<String>,
    burn: Vec<String>,
}

/// Every way in which the manifests leave the table; empty if none.
pub fn violations() -> Result<Vec<String>> {
    let path = workspace().join("docs/architecture.md");
    let document = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(compare(&table(&document), &packages()?))
}

/// The rows that begin with a layer and a crate in backticks.
fn table(document: &str) -> BTreeMap<String, Allowed> {
    document.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, Allowed)> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [layer, name, _holds, ours, burn] = cells.as_slice() else { return None };
    layer.parse::<u8>().ok()?;
    let name = name.strip_prefix('`')?.split('`').next()?;
    let list = |cell: &str, prefix: &str| {
        let name = |item: &str| match item {
            // The facade has the name of the whole.
            FACADE => FACADE.to_string(),
            item => format!("{prefix}{item}"),
        };
        let items = cell.split(',').map(str::trim).filter(|item| !matches!(*item, "" | "–"));
        items.map(name).collect()
    };
    Some((name.into(), Allowed { ours: list(ours, "emberline-"), burn: list(burn, "") }))
}

fn compare(table: &BTreeMap<String, Allowed>, packages: &[Value]) -> Vec<String> {
    let mut violations = Vec::new();
    let names: Vec<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .filter(|name| *name != "xtask")
        .collect();
    for name in table.keys().filter(|name| !names.contains(&name.as_str())) {
        violations.push(format!("{name} has a row, and is no crate of the workspace"));
    }
    for package in packages.iter().filter(|package| text(package, "name") != "xtask") {
        let name = text(package, "name");
        let Some(allowed) = table.get(name) else {
            violations.push(format!("{name} has no row"));
            continue;
        };
        for dependency in dependencies(package) {
            let used = text(dependency, "name").to_string();
            let of_burn = used == "burn" || used.starts_with("burn-");
            let of_ours = used.starts_with("emberline");
            let listed = if of_burn { &allowed.burn } else { &allowed.ours };
            if (of_burn || of_ours) && !listed.contains(&used) {
                violations.push(format!("{name} depends on {used}, which its row does not name"));
            }
        }
        if name != "emberline-backend" {
            violations.extend(backend_features(package).map(|feature| {
                format!("{name} names Burn's feature {feature}; only emberline-backend may")
            }));
        }
    }
    violations
}

/// The `[dependencies]` of a package, optional ones too; not its dev-dependencies.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten().filter(|dep| dep["kind"].is_null())
}

/// The backend features of Burn that a manifest switches on, in a dependency or through a feature.
fn backend_features(package: &Value) -> impl Iterator<Item = &str> {
    let direct = dependencies(package)
        .filter(|dependency| dependency["name"] == "burn")
        .flat_map(|dependency| dependency["features"].as_array().into_iter().flatten())
        .filter_map(Value::as_str);
    let through = package["features"]
        .as_object()
        .into_iter()
        .flat_map(|features| features.values())
        .flat_map(|values| values.as_array().into_iter().flatten())
        .filter_map(|value| value.as_str()?.strip_prefix("burn/"));
    direct.chain(through).filter(|feature| BACKEND_FEATURES.contains(feature))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_manifest_keeps_to_the_layer_table() {
        assert_eq!(violations().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_leaves_its_row_is_named() {
        let table = table(
            "| layer | crate | holds | ours | Burn |\n\
             | --- | --- | --- | --- | --- |\n\
             | 2 | `emberline-a` | things | core, text | burn |\n\
             | 3 | `emberline-gone` | nothing | – | – |\n\
             | 4 | `emberline-c` | more | emberline | – |",
        );
        let packages = [
            json!({ "name": "emberline-a", "features": { "gpu": ["burn/wgpu"] }, "dependencies": [
                { "name": "emberline-core", "kind": null },
                { "name": "emberline-b", "kind": null },
                { "name": "emberline-backend", "kind": "dev" },
                { "name": "burn", "kind": null, "features": ["std"] },
                { "name": "burn-store", "kind": null, "features": [] },
                { "name": "serde", "kind": null },
            ]}),
            json!({ "name": "emberline-b", "features": {}, "dependencies": [] }),
            json!({ "name": "emberline-c", "features": {}, "dependencies": [
                { "name": "emberline", "kind": null },
            ]}),
        ];
        assert_eq!(
            compare(&table, &packages),
            [
                "emberline-gone has a row, and is no crate of the workspace",
                "emberline-a depends on emberline-b, which its row does not name",
                "emberline-a depends on burn-store, which its row does not name",
                "emberline-a names Burn's feature wgpu; only emberline-backend may",
                "emberline-b has no row",
            ]
        );
    }
}
