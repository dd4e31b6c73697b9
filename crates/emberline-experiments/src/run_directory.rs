//! The directory of a run: who may write where, and nothing is written over.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use emberline_checkpoint::write_atomically;

use crate::config::RunConfig;
use crate::overrides;

/// The whole config of the run.
pub const CONFIG_FILE: &str = "config.toml";
/// The result, once the run is finished.
pub const RESULT_FILE: &str = "result.json";
/// What the trained model wrote.
pub const SAMPLES_FILE: &str = "samples.txt";

/// The directory of a run that this process alone writes to.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Held until the end of the process, however it ends.
    _lock: File,
}

impl RunDirectory {
    /// Makes the directory of a new run: at `out`, or `runs/<experiment>/<name>`, where a run without a name
    /// gets the next free number.
    ///
    /// # Errors
    /// If the place is taken or cannot be written.
    pub fn create(config: &RunConfig, out: Option<&Path>, name: Option<&str>) -> Result<Self> {
        let path = match (out, name) {
            (Some(out), _) => empty(out.to_path_buf())?,
            (None, Some(name)) => empty(of_name(&config.experiment, name)?)?,
            (None, None) => numbered(&of_experiment(&config.experiment))?,
        };
        let text = toml::to_string(config).context("a config has a TOML form")?;
        write_atomically(path.join(CONFIG_FILE), text.as_bytes())?;
        Self::locked(path)
    }

    /// The directory of a run that stopped, with its config: at `out`, of the name, or the latest of the experiment.
    ///
    /// # Errors
    /// If there is none, its config cannot be read, or another process runs it.
    pub fn open(
        experiment: Option<&str>,
        out: Option<&Path>,
        name: Option<&str>,
    ) -> Result<(Self, RunConfig)> {
        let path = match (out, experiment, name) {
            (Some(out), _, _) => out.to_path_buf(),
            (None, Some(experiment), Some(name)) => of_name(experiment, name)?,
            (None, Some(experiment), None) => {
                let folder = of_experiment(experiment);
                let latest = numbers(&folder)?.into_iter().max();
                let latest = latest.with_context(|| {
                    format!("there is no run to resume in {}", folder.display())
                })?;
                folder.join(latest.to_string())
            }
            (None, None, _) => bail!("--resume needs an experiment, or the run directory by --out"),
        };
        let config = read_config(&path)?;
        Ok((Self::locked(path)?, config))
    }

    fn locked(path: PathBuf) -> Result<Self> {
        let file = path.join(CONFIG_FILE);
        let lock = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                bail!("another process runs {} at this moment", path.display())
            }
            // A file system without locks is no reason not to run.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, _lock: lock }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one of its files, whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        Ok(write_atomically(self.path.join(file), bytes)?)
    }
}

/// The config of a run directory.
///
/// # Errors
/// If there is none, or it is not one.
pub fn read_config(directory: &Path) -> Result<RunConfig> {
    let file = directory.join(CONFIG_FILE);
    ensure!(file.is_file(), "{} is no run directory: it has no {CONFIG_FILE}", directory.display());
    read_config_file(&file)
}

/// A config of its own file.
///
/// # Errors
/// If it cannot be read, or is not one.
pub fn read_config_file(file: &Path) -> Result<RunConfig> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    overrides::parse(&text)
        .with_context(|| format!("{} is not the config of a run", file.display()))
}

fn of_experiment(experiment: &str) -> PathBuf {
    Path::new("runs").join(experiment)
}

fn of_name(experiment: &str, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    ensure!(plain, "`{name}` is no name for a run: it must be one folder; --out takes a path");
    Ok(of_experiment(experiment).join(name))
}

/// Makes a directory, or takes one that is there and empty.
fn empty(path: PathBuf) -> Result<PathBuf> {
    create_all(&path)?;
    let entries = path.read_dir().with_context(|| format!("cannot list {}", path.display()))?;
    // A process that was killed in its first moments leaves a hidden temporary file.
    let mut visible =
        entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    ensure!(
        visible.next().is_none(),
        "{} is not empty; --resume goes on with a run, another --name or --out begins one",
        path.display()
    );
    Ok(path)
}

/// Makes the directory of the next number.
fn numbered(folder: &Path) -> Result<PathBuf> {
    create_all(folder)?;
    let mut number = numbers(folder)?.into_iter().max().unwrap_or(0) + 1;
    loop {
        let path = folder.join(number.to_string());
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another run has taken it since.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
}

fn create_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn numbers(folder: &Path) -> Result<Vec<u64>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::char_lstm::char_lstm;

    #[test]
    fn runs_without_a_name_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        for expected in ["1", "2", "3"] {
            let made = numbered(folder.path()).unwrap();
            assert_eq!(made, folder.path().join(expected));
        }
    }

    #[test]
    fn a_run_directory_that_is_not_empty_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let error = RunDirectory::create(&char_lstm(), Some(folder.path()), None).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn one_process_at_a_time_runs_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let first = RunDirectory::create(&char_lstm(), Some(&out), None).unwrap();
        let error = RunDirectory::open(None, Some(&out), None).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        let (_second, config) = RunDirectory::open(None, Some(&out), None).unwrap();
        assert_eq!(config, char_lstm());
    }

    #[test]
    fn a_name_is_one_folder() {
        for name in ["", "..", "a/b", ".hidden"] {
            assert!(of_name("char-lstm", name).is_err(), "{name}");
        }
    }
}
