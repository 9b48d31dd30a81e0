//! Writes every custom resource definition into a folder, one file each: `crdgen <folder>`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: crdgen <folder>")?;
    std::fs::create_dir_all(&folder)?;
    for (name, text) in api::crds::files()? {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
