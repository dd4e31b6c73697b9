//! Where data is: files, the folder `datasets/` of the workspace, and the cache of fetched data sets.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use emberline_text::datasets::{PUBLIC_DATASETS, PublicDataset};
use sha2::{Digest, Sha256};

use crate::names;

/// The folder for fetched data: `$EMBERLINE_CACHE`, else `emberline` in `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// If none of the three variables is set.
pub fn cache() -> Result<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("EMBERLINE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("emberline")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/emberline")))
        .context("there is no place for a cache: set EMBERLINE_CACHE to a folder")
}

/// The public data set of that name.
///
/// # Errors
/// If there is none, with the nearest.
pub fn public(name: &str) -> Result<&'static PublicDataset> {
    let names = PUBLIC_DATASETS.iter().map(|dataset| dataset.name);
    let found = PUBLIC_DATASETS.iter().find(|dataset| dataset.name == name);
    found.with_context(|| format!("there is no data set `{name}`; {}", names::hint(name, names)))
}

/// The file of a public data set in a cache folder, whether it is there or not.
pub fn cached(cache: &Path, dataset: &PublicDataset) -> PathBuf {
    cache.join(dataset.name).join(dataset.file_name)
}

/// The file of data that a config names: a path, a folder of `datasets/` with one file of that extension, or a
/// fetched data set, which is checked. A path is written out in full, so that the config finds the file from anywhere.
///
/// # Errors
/// If there is no such file, with the places that were looked at, or a fetched one is not what was published.
pub fn find(name: &mut String, extension: &str) -> Result<PathBuf> {
    if Path::new(name).is_file() {
        return in_full(name);
    }
    if let Ok(dataset) = public(name) {
        let file = cached(&cache()?, dataset);
        ensure!(
            file.is_file(),
            "{name} is not at {}; `cargo xtask data {name}` fetches it",
            file.display()
        );
        let origin = file.display().to_string();
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {origin}"))?;
        verify(dataset, &bytes, &origin)
            .with_context(|| format!("`cargo xtask data {name}` fetches it again"))?;
        return Ok(file);
    }
    ensure!(is_plain(name), "there is no file {name}");
    file_in(&committed(name)?, extension)
}

/// The texts that a config names: a folder's path means all its `.txt` files by their names, everything else is as in
/// [`find`].
///
/// # Errors
/// Those of [`find`], and a folder without a text.
pub fn find_texts(name: &mut String) -> Result<Vec<PathBuf>> {
    if !Path::new(name).is_dir() || is_plain(name) && committed(name).is_ok() {
        return Ok(vec![find(name, "txt")?]);
    }
    let folder = in_full(name)?;
    let files = files_in(&folder, "txt")?;
    ensure!(!files.is_empty(), "{} holds no file of the kind .txt", folder.display());
    Ok(files)
}

/// The folder that a config names: a path, which is written out in full, or a folder of `datasets/`.
///
/// # Errors
/// If there is none, with the places that were looked at.
pub fn find_folder(name: &mut String) -> Result<PathBuf> {
    if Path::new(name).is_dir() {
        return in_full(name);
    }
    ensure!(is_plain(name), "there is no folder {name}");
    committed(name)
}

/// The path from the root on, as which it is named from now on.
fn in_full(path: &mut String) -> Result<PathBuf> {
    let full = std::fs::canonicalize(&*path).with_context(|| format!("cannot resolve {path}"))?;
    *path = full.display().to_string();
    Ok(full)
}

/// Whether a name is no path.
fn is_plain(name: &str) -> bool {
    !name.contains(['/', '\\', '.'])
}

/// The folder of `datasets/` of that name.
fn committed(name: &str) -> Result<PathBuf> {
    let folders = committed_folders();
    if let Some(folder) = folders.iter().map(|folder| folder.join(name)).find(|f| f.is_dir()) {
        return Ok(folder);
    }
    let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let committed = committed_names(&folders);
    let known = committed.iter().map(String::as_str).chain(PUBLIC_DATASETS.iter().map(|d| d.name));
    let looked =
        if looked.is_empty() { "any folder `datasets`".into() } else { looked.join(" or ") };
    bail!(
        "there is no data `{name}`, neither as a path nor in {looked}; {}",
        names::hint(name, known)
    )
}

/// The folders `datasets/` of the folder that the program runs in and of those above it, and of the
/// workspace that it was built in.
fn committed_folders() -> Vec<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built_in = std::fs::canonicalize(&built_in).unwrap_or(built_in);
    let mut folders: Vec<PathBuf> = here
        .ancestors()
        .chain([built_in.as_path()])
        .map(|folder| folder.join("datasets"))
        .filter(|folder| folder.is_dir())
        .collect();
    folders.dedup();
    folders
}

/// The one file of an extension in a data set's folder, besides its README and licence.
pub fn file_in(folder: &Path, extension: &str) -> Result<PathBuf> {
    let files = files_in(folder, extension)?;
    match files.as_slice() {
        [file] => Ok(file.clone()),
        files => bail!(
            "{} holds {} files of the kind .{extension}, and one was expected",
            folder.display(),
            files.len()
        ),
    }
}

/// The files of an extension in a folder by their names, besides its README and licence.
fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let is_data = path.extension().is_some_and(|other| other == extension);
        let about = path.file_stem().is_some_and(|stem| stem == "LICENSE" || stem == "README");
        if is_data && !about {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn committed_names(folders: &[PathBuf]) -> Vec<String> {
    let entries = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The SHA-256 of bytes, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every text");
        text
    })
}

/// Whether the files of a config's data, one after the other, have the checksum that it names; one that names none
/// gets theirs.
///
/// # Errors
/// If they have not.
pub fn check(files: &[&Path], expected: &mut Option<String>) -> Result<()> {
    let mut bytes = Vec::new();
    for file in files {
        let read = std::fs::read(file);
        bytes.extend(read.with_context(|| format!("cannot read {}", file.display()))?);
    }
    let found = sha256(&bytes);
    let expected = expected.get_or_insert_with(|| found.clone());
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    ensure!(
        *expected == found,
        "not the data of this config: the SHA-256 of {} is {found}, and {expected} was expected",
        names.join(", ")
    );
    Ok(())
}

/// Whether bytes are those of a data set; `origin` is named in the error.
///
/// # Errors
/// If the SHA-256 is another one.
pub fn verify(dataset: &PublicDataset, bytes: &[u8], origin: &str) -> Result<()> {
    let found = sha256(bytes);
    ensure!(
        found == dataset.sha256,
        "{origin} is not {}: expected {} bytes with SHA-256 {}, found {} bytes with {found}",
        dataset.name,
        dataset.bytes,
        dataset.sha256,
        bytes.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_data_set_is_found_by_its_name() {
        let file = find(&mut "shakespeare".to_string(), "txt").unwrap();
        assert!(file.ends_with("datasets/shakespeare/shakespeare.txt"));
        assert!(
            find_folder(&mut "shakespeare".to_string()).unwrap().ends_with("datasets/shakespeare")
        );
        let error = find(&mut "shakespeare".to_string(), "tsv").unwrap_err().to_string();
        assert!(error.ends_with("holds 0 files of the kind .tsv, and one was expected"), "{error}");
    }

    #[test]
    fn a_text_that_is_nowhere_names_what_was_looked_at_and_the_nearest() {
        let message = find(&mut "shakespear".to_string(), "txt").unwrap_err().to_string();
        assert!(
            message.contains("datasets") && message.contains("did you mean `shakespeare`?"),
            "{message}"
        );
        let message = find(&mut "no/such.txt".to_string(), "txt").unwrap_err().to_string();
        assert_eq!(message, "there is no file no/such.txt");
        assert_eq!(
            find_folder(&mut "a/b".to_string()).unwrap_err().to_string(),
            "there is no folder a/b"
        );
    }

    #[test]
    fn the_hash_is_the_published_one_of_abc() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
