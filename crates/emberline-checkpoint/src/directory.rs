//! Directories that are complete or absent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::atomic::{folder_of, sync_folder};
use crate::error::CheckpointError;
use crate::seal::{DONE, seal};

const PENDING: &str = ".pending";
const STEP: &str = "step-";

/// A directory in the making, under a temporary name beside its place.
///
/// [`commit`](Self::commit) puts it in place; dropped before, it is removed. What a killed process
/// leaves behind is never complete under its real name, and the next directory made in the same
/// folder removes it.
///
/// A place that is taken is refused, not replaced: renaming does not replace a directory that has files,
/// so that for a moment neither would be there. Who wants "the best so far" writes its name with
/// [`write_atomically`](crate::write_atomically).
#[derive(Debug)]
pub struct PendingDirectory {
    temporary: TempDir,
    target: PathBuf,
    /// Held until the end: tells a directory in the making from one whose process was killed.
    _lock: Option<File>,
}

impl PendingDirectory {
    /// Makes the temporary directory, and the folders that `target` is to lie in.
    ///
    /// # Errors
    /// [`Exists`](CheckpointError::Exists) if `target` is there and not an empty directory;
    /// [`Write`](CheckpointError::Write).
    pub fn create(target: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let target = target.into();
        if is_taken(&target) {
            return Err(CheckpointError::Exists { path: target });
        }
        let folder = folder_of(&target);
        let make = || -> io::Result<(TempDir, Option<File>)> {
            fs::create_dir_all(folder)?;
            remove_abandoned(folder);
            temporary_beside(&target)
        };
        let (temporary, lock) = make().map_err(CheckpointError::write(&target))?;
        Ok(Self { temporary, target, _lock: lock })
    }

    /// Where to write the files until [`commit`](Self::commit).
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes `DONE` with the SHA-256 of every file, syncs them, and renames the directory to its place.
    ///
    /// # Errors
    /// [`Write`](CheckpointError::Write); [`Exists`](CheckpointError::Exists) if the place was taken meanwhile.
    /// The temporary directory is removed.
    pub fn commit(mut self) -> Result<(), CheckpointError> {
        let place = || -> io::Result<()> {
            seal(self.path())?;
            sync_all(self.path())?;
            fs::rename(self.path(), &self.target)
        };
        if let Err(error) = place() {
            return Err(match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    CheckpointError::Exists { path: self.target.clone() }
                }
                _ => CheckpointError::write(&self.target)(error),
            });
        }
        self.temporary.disable_cleanup(true);
        sync_folder(folder_of(&self.target)).map_err(CheckpointError::write(&self.target))
    }
}

/// Whether a directory was committed.
pub fn is_complete(directory: impl AsRef<Path>) -> bool {
    directory.as_ref().join(DONE).is_file()
}

/// The place of the checkpoint of a step: `folder/step-00000500`.
pub fn step_directory(folder: impl AsRef<Path>, step: u64) -> PathBuf {
    folder.as_ref().join(format!("{STEP}{step:08}"))
}

/// The complete checkpoints of a folder with their steps, earliest first; none if there is no folder.
///
/// # Errors
/// [`CheckpointError::Read`].
pub fn complete_steps(folder: impl AsRef<Path>) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let folder = folder.as_ref();
    let list = || -> io::Result<Vec<(u64, PathBuf)>> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(STEP));
            if let Some(step) = digits.and_then(|digits| digits.parse().ok())
                && is_complete(entry.path())
            {
                steps.push((step, entry.path()));
            }
        }
        steps.sort();
        Ok(steps)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(CheckpointError::read(folder)),
    }
}

/// The complete checkpoint of the last step, from which to resume.
///
/// # Errors
/// [`CheckpointError::Read`].
pub fn latest_complete(folder: impl AsRef<Path>) -> Result<Option<PathBuf>, CheckpointError> {
    Ok(complete_steps(folder)?.pop().map(|(_, directory)| directory))
}

/// Removes a committed directory so that at no moment a part of it looks complete.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn remove_directory(directory: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let directory = directory.as_ref();
    let remove = || -> io::Result<()> {
        let (temporary, _lock) = temporary_beside(directory)?;
        fs::rename(directory, temporary.path().join("removed"))?;
        temporary.close()
    };
    remove().map_err(CheckpointError::write(directory))
}

fn is_taken(target: &Path) -> bool {
    match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() == io::ErrorKind::NotADirectory && target.exists(),
    }
}

fn temporary_beside(target: &Path) -> io::Result<(TempDir, Option<File>)> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    loop {
        let temporary = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(PENDING)
            .tempdir_in(folder_of(target))?;
        match lock(temporary.path()) {
            // Another process locked it before us, and removes it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It did so already.
            _ if !temporary.path().try_exists()? => {}
            // Where directories cannot be locked, what a killed process leaves is never removed.
            lock => return Ok((temporary, lock.ok())),
        }
    }
}

/// Best effort: what cannot be removed now costs space, and no more.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pending =
            name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(PENDING));
        // Locked until it is gone, so that who has just made it notices.
        if pending && let Ok(_lock) = lock(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Fails where a living process holds the lock, which ends with its process even on SIGKILL.
fn lock(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    directory.try_lock()?;
    Ok(directory)
}

fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn commit(target: &Path) {
        let pending = PendingDirectory::create(target).unwrap();
        fs::write(pending.path().join("file"), "content").unwrap();
        pending.commit().unwrap();
    }

    #[test]
    fn a_directory_is_absent_until_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("runs").join("model");
        let pending = PendingDirectory::create(&target).unwrap();
        fs::write(pending.path().join("file"), "content").unwrap();
        assert!(!target.exists());
        pending.commit().unwrap();
        assert!(is_complete(&target));
        assert_eq!(names(&target), ["DONE", "file"]);
        assert_eq!(names(target.parent().unwrap()), ["model"]);
    }

    #[test]
    fn a_directory_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let pending = PendingDirectory::create(folder.path().join("model")).unwrap();
        fs::write(pending.path().join("file"), "content").unwrap();
        drop(pending);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_not_complete_and_goes_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        commit(&step_directory(folder.path(), 1));
        let left = folder.path().join(".step-00000002.x1y2z3.pending");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(DONE), "").unwrap();
        assert_eq!(latest_complete(folder.path()).unwrap(), Some(step_directory(folder.path(), 1)));
        commit(&step_directory(folder.path(), 3));
        assert_eq!(names(folder.path()), ["step-00000001", "step-00000003"]);
    }

    #[test]
    fn directories_in_the_making_do_not_remove_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let first = PendingDirectory::create(folder.path().join("first")).unwrap();
        let second = PendingDirectory::create(folder.path().join("second")).unwrap();
        first.commit().unwrap();
        second.commit().unwrap();
        assert_eq!(names(folder.path()), ["first", "second"]);
    }

    #[test]
    fn directories_made_at_the_same_time_are_all_committed() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for steps in [0..25, 25..50, 50..75, 75..100] {
                scope.spawn(|| steps.for_each(|step| commit(&step_directory(folder.path(), step))));
            }
        });
        assert_eq!(complete_steps(folder.path()).unwrap().len(), 100);
        assert_eq!(names(folder.path()).len(), 100);
    }

    #[test]
    fn a_place_that_is_taken_is_refused_before_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        let (one, two) = (PendingDirectory::create(&target), PendingDirectory::create(&target));
        one.unwrap().commit().unwrap();
        let error = two.unwrap().commit().unwrap_err();
        assert!(matches!(error, CheckpointError::Exists { .. }), "{error:?}");
        let error = PendingDirectory::create(&target).unwrap_err();
        assert!(matches!(error, CheckpointError::Exists { .. }), "{error:?}");
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn an_empty_directory_is_filled_and_a_file_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, file) = (folder.path().join("empty"), folder.path().join("file"));
        fs::create_dir(&empty).unwrap();
        commit(&empty);
        assert!(is_complete(&empty));
        fs::write(&file, "").unwrap();
        let error = PendingDirectory::create(&file).unwrap_err();
        assert!(matches!(error, CheckpointError::Exists { .. }), "{error:?}");
        let error = PendingDirectory::create(file.join("model")).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
    }

    #[test]
    fn the_latest_step_is_the_highest_complete_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(latest_complete(folder.path().join("absent")).unwrap(), None);
        for step in [7, 100_000_000, 500] {
            commit(&step_directory(folder.path(), step));
        }
        fs::create_dir(step_directory(folder.path(), 200_000_000)).unwrap();
        commit(&folder.path().join("step-last"));
        let steps: Vec<u64> =
            complete_steps(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [7, 500, 100_000_000]);
        let latest = latest_complete(folder.path()).unwrap();
        assert_eq!(latest, Some(step_directory(folder.path(), 100_000_000)));
    }

    #[test]
    fn a_removed_directory_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        commit(&target);
        remove_directory(&target).unwrap();
        assert!(names(folder.path()).is_empty());
        let error = remove_directory(&target).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
    }
}
