use std::collections::BTreeSet;
use std::fs;

use emberline_text::datasets::PUBLIC_DATASETS;
use sha2::{Digest, Sha256};

use crate::datasets;

/// The rows `| file | bytes | sha256 |` of a README.
fn table(readme: &str) -> Vec<[String; 3]> {
    let cells =
        |line: &str| line.split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let rows = readme.lines().map(cells).filter(|cells| cells.len() == 5 && cells[3].len() == 64);
    rows.map(|cells| [cells[1].clone(), cells[2].clone(), cells[3].clone()]).collect()
}

#[test]
fn every_committed_file_is_the_one_its_readme_describes() {
    let mut n_folders = 0;
    for folder in fs::read_dir(datasets()).unwrap() {
        let folder = folder.unwrap().path();
        let rows = table(&fs::read_to_string(folder.join("README.md")).unwrap());
        for [name, size, sha256] in &rows {
            let bytes = fs::read(folder.join(name)).unwrap();
            let digest: String =
                Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!((&bytes.len().to_string(), &digest), (size, sha256), "{folder:?} {name}");
        }
        let described = rows.into_iter().map(|[name, ..]| name).chain(["README.md".to_string()]);
        let described: BTreeSet<String> = described.collect();
        let files = fs::read_dir(&folder).unwrap();
        let present = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        assert_eq!(described, present.collect(), "{folder:?}");
        assert!(described.contains("LICENSE.txt"), "{folder:?}");
        n_folders += 1;
    }
    assert!(n_folders >= 2, "the committed data sets are there");
}

#[test]
fn public_datasets_have_one_name_each_and_a_checksum() {
    let names: BTreeSet<&str> = PUBLIC_DATASETS.iter().map(|dataset| dataset.name).collect();
    assert_eq!(names.len(), PUBLIC_DATASETS.len());
    for dataset in PUBLIC_DATASETS {
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(dataset.sha256.len() == 64 && dataset.sha256.chars().all(is_digit));
        assert!(dataset.url.starts_with("https://"));
    }
}
