//! Writes container images as docker-archive tars with a single layer: same input, same bytes. No registry, no daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cache::{file_digest, hex};
use crate::error::{Doing, Error, Result, malformed};
use crate::libraries;

const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One file of an image.
#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Text(String),
}

/// What an image holds.
#[derive(Clone, Debug)]
pub struct Image {
    names: Vec<String>,
    entrypoint: Vec<String>,
    user: String,
    files: BTreeMap<String, (Content, u32)>,
}

impl Image {
    /// An image with users, certificates and `/tmp`, and nothing to run yet. It runs as nonroot.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let image = Self {
            names: names.into_iter().map(Into::into).collect(),
            entrypoint: Vec::new(),
            user: "65532:65532".to_owned(),
            files: BTreeMap::new(),
        };
        let image = image
            .text("/etc/passwd", PASSWD)
            .text("/etc/group", GROUP)
            .text("/etc/nsswitch.conf", "hosts: files dns\n");
        if Path::new(CERTIFICATES).exists() {
            image.file(CERTIFICATES, CERTIFICATES, 0o644)
        } else {
            image
        }
    }

    /// What it runs.
    #[must_use]
    pub fn entrypoint<A: Into<String>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Who it runs as.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// One more file.
    #[must_use]
    pub fn file(mut self, source: impl Into<PathBuf>, to: &str, mode: u32) -> Self {
        self.files
            .insert(inside(to), (Content::File(source.into()), mode));
        self
    }

    /// A small file given as text.
    #[must_use]
    pub fn text(mut self, to: &str, text: &str) -> Self {
        self.files
            .insert(inside(to), (Content::Text(text.to_owned()), 0o644));
        self
    }

    /// A program with the shared libraries that it needs.
    #[must_use]
    pub fn program(self, source: &Path, to: &str) -> Self {
        let libraries = libraries::of(source);
        libraries
            .into_iter()
            .fold(self.file(source, to, 0o755), |image, library| {
                let place = library.to_string_lossy().into_owned();
                image.file(library, &place, 0o755)
            })
    }

    /// Writes the archive.
    pub fn write(&self, out: &Path) -> Result<()> {
        let parent = out
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut layer = tempfile::NamedTempFile::new_in(parent).on("making a file in", parent)?;
        self.write_layer(layer.as_file_mut())?;
        let digest = file_digest(layer.path())?;
        let config = self.config(&digest).to_string();
        let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
        let layer_name = format!("{digest}/layer.tar");
        let manifest =
            json!([{"Config": config_name, "RepoTags": self.names, "Layers": [layer_name]}]).to_string();

        let file = File::create(out).on("creating", out)?;
        let mut archive = tar::Builder::new(BufWriter::new(file));
        let mut add = |name: &str, size: u64, content: &mut dyn Read| {
            archive
                .append_data(&mut header(size, 0o644), name, content)
                .on("writing", out)
        };
        add(&config_name, config.len() as u64, &mut config.as_bytes())?;
        let mut content = File::open(layer.path()).on("opening the layer of", out)?;
        let size = content.metadata().on("measuring the layer of", out)?.len();
        add(&layer_name, size, &mut content)?;
        add("manifest.json", manifest.len() as u64, &mut manifest.as_bytes())?;
        let mut file = archive.into_inner().on("finishing", out)?;
        file.flush().on("finishing", out)
    }

    fn config(&self, layer: &str) -> serde_json::Value {
        json!({
            "architecture": if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": [SEARCH_PATH], "User": self.user},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
    }

    fn write_layer(&self, out: &mut File) -> Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(out));
        let doing = |path: &str| format!("adding {path} to an image");
        for (dir, mode) in self.folders() {
            let mut header = header(0, mode);
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{dir}/"), std::io::empty())
                .doing(|| doing(&dir))?;
        }
        for (path, (content, mode)) in &self.files {
            match content {
                Content::Text(text) => {
                    tar.append_data(&mut header(text.len() as u64, *mode), path, text.as_bytes())
                }
                Content::File(source) => {
                    let file = File::open(source).on("opening", source)?;
                    let size = file.metadata().on("measuring", source)?.len();
                    tar.append_data(&mut header(size, *mode), path, file)
                }
            }
            .doing(|| doing(path))?;
        }
        let mut out = tar.into_inner().doing(|| doing("its end"))?;
        out.flush().doing(|| doing("its end"))
    }

    fn folders(&self) -> BTreeMap<String, u32> {
        let mut folders: BTreeSet<String> =
            BTreeSet::from(["tmp".to_owned(), "home/nonroot".to_owned(), "home".to_owned()]);
        for path in self.files.keys() {
            let parents = Path::new(path)
                .ancestors()
                .skip(1)
                .filter(|p| !p.as_os_str().is_empty());
            folders.extend(parents.map(|p| p.to_string_lossy().into_owned()));
        }
        folders
            .into_iter()
            .map(|dir| if dir == "tmp" { (dir, 0o1777) } else { (dir, 0o755) })
            .collect()
    }
}

/// The names in an archive, and an identity of its content.
pub fn names_in(archive: &Path) -> Result<Vec<String>> {
    let mut tar = tar::Archive::new(File::open(archive).on("opening", archive)?);
    for entry in tar.entries().on("reading", archive)? {
        let mut entry = entry.on("reading", archive)?;
        if entry.path().is_ok_and(|p| p.as_os_str() == "manifest.json") {
            let mut text = String::new();
            entry.read_to_string(&mut text).on("reading", archive)?;
            return names_of(&text);
        }
    }
    Err(malformed(
        &archive.display().to_string(),
        "it has no manifest.json",
    ))
}

fn names_of(manifest: &str) -> Result<Vec<String>> {
    let manifest: serde_json::Value = crate::error::json("an image archive's manifest", manifest)?;
    let tags = manifest[0]["RepoTags"].as_array().cloned().unwrap_or_default();
    Ok(tags
        .iter()
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect())
}

/// Where a path is inside another root, its links followed as they would be there: never out of it.
pub fn within(root: &Path, path: &str) -> Result<PathBuf> {
    let mut pending: Vec<OsString> = parts(Path::new(path));
    let mut real = PathBuf::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let Ok(target) = fs::read_link(root.join(&real).join(&part)) else {
            real.push(part);
            continue;
        };
        links += 1;
        if links > 40 {
            return Err(Error::Unsupported(format!(
                "{path} has too many links in {}",
                root.display()
            )));
        }
        if target.is_absolute() {
            real.clear();
        }
        pending.extend(parts(&target));
    }
    Ok(root.join(real))
}

/// A path's parts, last first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: Component| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(named).collect()
}

fn inside(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Image {
        Image::new(["docker.io/x/y:1"])
            .text("/a/b/c", "hello")
            .entrypoint(["/a/b/c"])
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() -> Result<()> {
        let dir = tempfile::tempdir().doing(String::new)?;
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        example().write(&one)?;
        example().write(&two)?;
        assert_eq!(
            fs::read(&one).on("reading", &one)?,
            fs::read(&two).on("reading", &two)?
        );
        assert_eq!(names_in(&one)?, ["docker.io/x/y:1"]);
        Ok(())
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let folders: Vec<_> = example().folders().into_iter().collect();
        assert!(folders.contains(&("a".to_owned(), 0o755)) && folders.contains(&("a/b".to_owned(), 0o755)));
        assert!(folders.contains(&("tmp".to_owned(), 0o1777)));
    }

    #[test]
    fn links_may_not_leave_the_root() -> Result<()> {
        let dir = tempfile::tempdir().doing(String::new)?;
        let real = dir.path().join("etc");
        fs::create_dir(&real).on("making", &real)?;
        std::os::unix::fs::symlink("/etc/../../etc", dir.path().join("out")).on("linking", dir.path())?;
        assert_eq!(within(dir.path(), "/out/name")?, real.join("name"));
        Ok(())
    }
}
