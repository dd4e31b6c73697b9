//! Writing a file whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::CheckpointError;

const TEMPORARY: &str = ".tmp";

/// Random characters in the name of a temporary file.
const RANDOM: usize = 6;

/// Writes a file so that it holds either all of `bytes` or what it held before, also when the disk is
/// full or the power fails.
///
/// The bytes go to a temporary file in the same folder, which is synced and then renamed; on an error
/// the temporary file is removed. One that a killed process left is removed by the next write of the same
/// path, where files can be locked.
///
/// # Errors
/// [`CheckpointError::Write`] with the path.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_atomically_with(path.as_ref(), |file| file.write_all(bytes))
}

/// The same for what is written in parts.
///
/// # Errors
/// As [`write_atomically`], also if `write` fails.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    replace(path, write).map_err(CheckpointError::write(path))
}

fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    let prefix = format!(".{name}.");
    remove_abandoned(folder, &prefix);
    let mut temporary = temporary_in(folder, &prefix)?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// A new file, locked until it is closed so that no other writer takes it for abandoned.
fn temporary_in(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    loop {
        // `create_new` rather than tempfile's own files, which only their owner may read.
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(TEMPORARY)
            .rand_bytes(RANDOM)
            .make_in(folder, |path| File::create_new(path))?;
        match temporary.as_file().try_lock() {
            // Another writer locked it before us, and removes it.
            Err(TryLockError::WouldBlock) => {}
            // It did so already.
            Ok(()) if !temporary.path().try_exists()? => {}
            // Where files cannot be locked, none is ever removed.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(temporary),
        }
    }
}

/// Removes the temporary files of killed processes, whose locks have ended with them. Best effort: what
/// cannot be removed now costs space, and no more.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(TEMPORARY))
            .filter(|random| random.len() == RANDOM && random.chars().all(char::is_alphanumeric));
        if random.is_some()
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // Still locked, so that a writer who has just made it notices.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The folder that a path lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a rename in `folder` survive a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened, and the rename is all there is.
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_write_that_fails_in_the_middle_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"old").unwrap();
        let error = write_atomically_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str| File::create(folder.path().join(name)).unwrap();
        let at_work = create(".a.txt.atwork.tmp");
        at_work.lock().unwrap();
        for name in [".a.txt.killed.tmp", ".a.txt.of.you.tmp", ".b.txt.killed.tmp"] {
            create(name);
        }
        write_atomically(folder.path().join("a.txt"), b"x").unwrap();
        assert_eq!(
            names(folder.path()),
            [".a.txt.atwork.tmp", ".a.txt.of.you.tmp", ".b.txt.killed.tmp", "a.txt"]
        );
    }

    #[test]
    fn writers_of_one_path_do_not_remove_each_others_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| write_atomically(&path, b"x").unwrap()));
            }
        });
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_path_below_a_regular_file_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write_atomically(&file, b"").unwrap();
        let error = write_atomically(file.join("a.txt"), b"x").unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_was_written_if_the_user_lets_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
