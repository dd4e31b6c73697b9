//! `DONE`, the file that makes a directory complete: the SHA-256 of every other file in it, as
//! `sha256sum` writes and checks them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::CheckpointError;

pub(crate) const DONE: &str = "DONE";

/// Writes `DONE` for the files that are there.
pub(crate) fn seal(directory: &Path) -> io::Result<()> {
    let mut lines = String::new();
    for name in files(directory)? {
        lines += &format!("{}  {name}\n", sha256(&directory.join(&name))?);
    }
    fs::write(directory.join(DONE), lines)
}

/// The names of the files that `DONE` lists, in order.
fn files(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != DONE {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether the files of a committed directory are those that were written: all of them, at least one,
/// and no other.
///
/// # Errors
/// [`Damaged`](CheckpointError::Damaged) for the first file that is not, or that `DONE` does not list, and
/// for a `DONE` that lists none; [`Read`](CheckpointError::Read).
pub fn verify(directory: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let directory = directory.as_ref();
    let done = directory.join(DONE);
    let lines = fs::read_to_string(&done).map_err(CheckpointError::read(&done))?;
    let mut listed = HashSet::new();
    for line in lines.lines() {
        let Some((expected, name)) = line.split_once("  ") else {
            return Err(CheckpointError::Damaged { path: done });
        };
        let path = directory.join(name);
        let found = sha256(&path).map_err(CheckpointError::read(&path))?;
        if found != expected {
            return Err(CheckpointError::Damaged { path });
        }
        listed.insert(name);
    }
    if listed.is_empty() {
        return Err(CheckpointError::Damaged { path: done });
    }
    let files = files(directory).map_err(CheckpointError::read(directory))?;
    match files.into_iter().find(|name| !listed.contains(name.as_str())) {
        Some(name) => Err(CheckpointError::Damaged { path: directory.join(name) }),
        None => Ok(()),
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            break;
        }
        hash.update(&block[..length]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_directory_lists_its_files_as_sha256sum_does() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("abc"), "abc").unwrap();
        seal(folder.path()).unwrap();
        // The first test vector of FIPS 180-2.
        assert_eq!(
            fs::read_to_string(folder.path().join(DONE)).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n"
        );
        verify(folder.path()).unwrap();
    }

    #[test]
    fn a_file_that_done_does_not_list_is_damaged_and_so_is_an_empty_done() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, done] = ["one", "two", DONE].map(|name| folder.path().join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        seal(folder.path()).unwrap();
        let lines = fs::read_to_string(&done).unwrap();
        let first = &lines[..=lines.find('\n').unwrap()];
        for (text, damaged) in [(first, &two), ("", &done)] {
            fs::write(&done, text).unwrap();
            let error = verify(folder.path()).unwrap_err();
            assert!(
                matches!(&error, CheckpointError::Damaged { path } if path == damaged),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_changed_and_a_missing_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        fs::write(&file, "one").unwrap();
        seal(folder.path()).unwrap();
        fs::write(&file, "two").unwrap();
        let error = verify(folder.path()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Damaged { path } if *path == file), "{error:?}");
        fs::remove_file(&file).unwrap();
        let error = verify(folder.path()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Read { path, .. } if *path == file), "{error:?}");
    }
}
