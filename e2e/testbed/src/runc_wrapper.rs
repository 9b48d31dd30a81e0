//! The runc wrapper for machines without CAP_SYS_RESOURCE (`assets/runc-without-capability.sh`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Doing, Result};

const SCRIPT: &str = include_str!("../assets/runc-without-capability.sh");

/// The wrapper of a real runc.
pub fn text(real: &Path) -> String {
    SCRIPT.replace("@REAL@", &real.display().to_string())
}

/// Writes the wrapper.
pub fn install(at: &Path, real: &Path) -> Result<()> {
    fs::write(at, text(real)).on("writing", at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).on("making executable", at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::command::Run;
    use crate::error::malformed;

    fn granted(file: &str, flag: &str, asked: &Value) -> Result<Value> {
        let dir = tempfile::tempdir().doing(String::new)?;
        let (wrapper, config) = (dir.path().join("runc"), dir.path().join(file));
        install(&wrapper, Path::new("/bin/true"))?;
        fs::write(&config, asked.to_string()).on("writing", &config)?;
        let given = if flag == "--bundle" { dir.path() } else { &config };
        Run::new(&wrapper).args(["create", flag]).arg(given).run()?;
        let text = fs::read_to_string(&config).on("reading", &config)?;
        serde_json::from_str(&text).map_err(|e| malformed("config", e))
    }

    #[test]
    fn the_capability_and_low_oom_scores_are_taken_out() -> Result<()> {
        let process =
            |caps: Value, score: i64| json!({"capabilities": {"bounding": caps}, "oomScoreAdj": score});
        let asked = process(json!(["CAP_KILL", "CAP_SYS_RESOURCE"]), -998);
        let expected = process(json!(["CAP_KILL"]), 0);
        assert_eq!(
            granted("config.json", "--bundle", &json!({"process": asked}))?,
            json!({"process": expected})
        );
        assert_eq!(granted("exec.json", "--process", &asked)?, expected);
        Ok(())
    }
}
