//! Keeps what is expensive to make, outside the repository: one folder an artefact, named by its content key.
//! Never holds a half-made artefact: each is made beside its place and renamed into it, under a lock.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::command::Run;
use crate::error::{Doing, Error, Result, malformed};
use crate::progress::Progress;

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$KUBELB_CACHE`, else `$XDG_CACHE_HOME/kubelb`, else `~/.cache/kubelb`.
    pub fn from_env() -> Result<Self> {
        let root = cache_root(
            env::var_os("KUBELB_CACHE"),
            env::var_os("XDG_CACHE_HOME"),
            env::var_os("HOME"),
        )
        .ok_or_else(|| {
            Error::Unsupported("set KUBELB_CACHE or HOME: there is no place for the cache".to_owned())
        })?;
        Ok(Self { root })
    }

    /// A cache in a folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an artefact is or would be.
    pub fn place(&self, kind: &str, key: &Key) -> PathBuf {
        self.root.join(format!("{kind}-{}", key.0))
    }

    /// The artefact's folder; made by `build` (which gets an empty folder) unless it is there.
    pub fn artefact(
        &self,
        progress: &Progress,
        kind: &str,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.place(kind, key);
        if place.exists() {
            return Ok(place);
        }
        fs::create_dir_all(&self.root).on("making", &self.root)?;
        let _lock = self.lock(progress, kind, key)?;
        if !place.exists() {
            progress.stage(&format!("making {kind}"), || self.make(&place, build))?;
        }
        Ok(place)
    }

    fn make(&self, place: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let beside = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(&self.root)
            .on("making a folder in", &self.root)?;
        let inside = beside.path().join("artefact");
        fs::create_dir(&inside).on("making", &inside)?;
        build(&inside)?;
        fs::rename(&inside, place).on("keeping", place)
    }

    fn lock(&self, progress: &Progress, kind: &str, key: &Key) -> Result<File> {
        let path = self.root.join(format!("{kind}-{}.lock", key.0));
        let file = File::create(&path).on("opening", &path)?;
        if file.try_lock().is_err() {
            progress.say(format!("waiting for another run that is making {kind}"));
            file.lock().on("locking", &path)?;
        }
        Ok(file)
    }
}

fn cache_root(
    own: Option<std::ffi::OsString>,
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    let given = |v: Option<std::ffi::OsString>| v.filter(|v| !v.is_empty()).map(PathBuf::from);
    given(own)
        .or_else(|| given(xdg).map(|x| x.join("kubelb")))
        .or_else(|| given(home).map(|h| h.join(".cache").join("kubelb")))
}

/// What an artefact is made from, condensed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key of named inputs: the order and the boundaries count.
    pub fn of<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hash = Sha256::new();
        for (name, value) in inputs {
            for part in [name, value] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
        Self(hex(&hash.finalize())[..16].to_owned())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The sha256 of a file. By the system's program: an unoptimized build of ours takes seconds for large files.
pub fn file_digest(path: &Path) -> Result<String> {
    let printed = Run::new("sha256sum").arg("--").arg(path).output()?;
    let digest = printed
        .split_whitespace()
        .next()
        .map(|word| word.trim_start_matches('\\').to_owned());
    digest.ok_or_else(|| malformed("sha256sum's output", printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_content_and_boundaries() {
        let key = Key::of([("a", "bc")]);
        assert_eq!(key, Key::of([("a", "bc")]));
        assert_ne!(key, Key::of([("ab", "c")]));
        assert_ne!(key, Key::of([("a", "bd")]));
        assert_eq!(key.as_str().len(), 16);
    }

    #[test]
    fn the_place_follows_the_environment() {
        let some = |s: &str| Some(s.into());
        assert_eq!(cache_root(some("/c"), some("/x"), some("/h")), Some("/c".into()));
        assert_eq!(
            cache_root(some(""), some("/x"), some("/h")),
            Some("/x/kubelb".into())
        );
        assert_eq!(
            cache_root(None, None, some("/h")),
            Some("/h/.cache/kubelb".into())
        );
        assert_eq!(cache_root(None, None, None), None);
    }

    #[test]
    fn an_artefact_is_made_once_and_never_half() -> Result<()> {
        let folder = tempfile::tempdir().doing(|| "temp".to_owned())?;
        let cache = Cache::at(folder.path());
        let (progress, key) = (Progress::default(), Key::of([("k", "v")]));
        let failed = cache.artefact(&progress, "thing", &key, |_| {
            Err(Error::Unsupported("no".to_owned()))
        });
        assert!(failed.is_err() && !cache.place("thing", &key).exists());
        let made = cache.artefact(&progress, "thing", &key, |dir| {
            fs::write(dir.join("f"), "x").on("writing", dir)
        })?;
        assert!(made.join("f").exists());
        let again = cache.artefact(&progress, "thing", &key, |_| {
            Err(Error::Unsupported("made twice".to_owned()))
        })?;
        assert_eq!(made, again);
        Ok(())
    }
}
