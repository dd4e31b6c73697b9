//! The directory of a run: who may write where, and nothing is written over.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use emberline_checkpoint::write_atomically;

use crate::config::RunConfig;

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
    _lock: Option<File>,
}

impl RunDirectory {
    /// Makes the directory of a new run: at `out`, or `runs/<experiment>/<name>`, where a run without a name
    /// gets the next free number.
    ///
    /// # Errors
    /// If the place is taken or cannot be written.
    pub fn create(config: &RunConfig, out: Option<&Path>, name: Option<&str>) -> Result<Self> {
        let path = match (out, name) {
            (Some(out), _) => created(out.to_path_buf())?,
            (None, Some(name)) => created(of_name(config.experiment(), name)?)?,
            (None, None) => numbered(&of_experiment(config.experiment()))?,
        };
        // First, so that of several processes with one `out` a single one finds it empty.
        let directory = Self::locked(path)?;
        ensure_empty(directory.path())?;
        let text = toml::to_string(config).context("a config has a TOML form")?;
        directory.write(CONFIG_FILE, text.as_bytes())?;
        Ok(directory)
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
            (None, Some(experiment), None) => latest(&of_experiment(experiment))?,
            (None, None, _) => bail!("--resume needs an experiment, or the run directory by --out"),
        };
        let config = read_config(&path)?;
        Ok((Self::locked(path)?, config))
    }

    fn locked(path: PathBuf) -> Result<Self> {
        // A system that does not open or lock directories is no reason not to run.
        let lock = File::open(&path).ok();
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            bail!("another process runs {} at this moment", path.display());
        }
        Ok(Self { path, _lock: lock })
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
    read_config_file(&config_file(directory)?)
}

/// The config file of a run directory.
///
/// # Errors
/// If there is none.
pub fn config_file(directory: &Path) -> Result<PathBuf> {
    let file = directory.join(CONFIG_FILE);
    ensure!(file.is_file(), "{} is no run directory: it has no {CONFIG_FILE}", directory.display());
    Ok(file)
}

/// A config of its own file.
///
/// # Errors
/// If it cannot be read, or is not one.
pub fn read_config_file(file: &Path) -> Result<RunConfig> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    RunConfig::parse(&text)
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

fn ensure_empty(path: &Path) -> Result<()> {
    let entries = path.read_dir().with_context(|| format!("cannot list {}", path.display()))?;
    // A process that was killed in its first moments leaves a hidden temporary file.
    let mut visible =
        entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    ensure!(
        visible.next().is_none(),
        "{} is not empty; --resume goes on with a run, another --name or --out begins one",
        path.display()
    );
    Ok(())
}

/// The run of the highest number. One that was killed before it had a config has nothing to go on with.
fn latest(folder: &Path) -> Result<PathBuf> {
    let mut numbers = numbers(folder)?;
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut runs = numbers.into_iter().map(|number| folder.join(number.to_string()));
    runs.find(|run| run.join(CONFIG_FILE).is_file())
        .with_context(|| format!("there is no run to resume in {}", folder.display()))
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

/// Makes a directory, or takes one that is there.
fn created(path: PathBuf) -> Result<PathBuf> {
    create_all(&path)?;
    Ok(path)
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
    use std::sync::Barrier;

    use super::*;

    fn config() -> RunConfig {
        (crate::experiments::find("char-lstm").unwrap().config)()
    }

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
        let error = RunDirectory::create(&config(), Some(folder.path()), None).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn one_process_at_a_time_runs_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let first = RunDirectory::create(&config(), Some(&out), None).unwrap();
        let error = RunDirectory::open(None, Some(&out), None).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        let (_second, config) = RunDirectory::open(None, Some(&out), None).unwrap();
        assert_eq!(config, self::config());
    }

    #[test]
    fn of_many_at_once_one_gets_the_directory() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let start = Barrier::new(4);
            let create = || {
                start.wait();
                RunDirectory::create(&config(), Some(folder.path()), None)
            };
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(create));
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        }
    }

    #[test]
    fn the_latest_run_is_the_last_that_has_a_config() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9", "10", "11", "named"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(latest(folder.path()).is_err());
        for name in ["9", "10", "named"] {
            fs::write(folder.path().join(name).join(CONFIG_FILE), "").unwrap();
        }
        assert_eq!(latest(folder.path()).unwrap(), folder.path().join("10"));
    }

    #[test]
    fn a_name_is_one_folder() {
        for name in ["", "..", "a/b", ".hidden"] {
            assert!(of_name("char-lstm", name).is_err(), "{name}");
        }
    }
}
