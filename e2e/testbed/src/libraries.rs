//! Finds the shared libraries that a program needs, by asking the dynamic loader (`ldd`). Copies nothing.

use std::path::{Path, PathBuf};

use crate::command::Run;

/// The libraries of a program on this machine, loader included; none for a static one.
pub fn of(program: &Path) -> Vec<PathBuf> {
    // ldd fails for a static program: that is the answer "none".
    parse(&Run::new("ldd").arg(program).output().unwrap_or_default())
}

/// The same inside another root file system.
pub fn of_in(root: &Path, program: &str) -> Vec<PathBuf> {
    parse(
        &Run::new("chroot")
            .arg(root)
            .args(["ldd", program])
            .output()
            .unwrap_or_default(),
    )
}

fn parse(printed: &str) -> Vec<PathBuf> {
    printed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_one_file() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(printed), expected);
        assert!(parse("\tnot a dynamic executable\n").is_empty());
    }
}
