//! Runs programs: bounded in time, with their output kept for the error message. Starts nothing that outlives the call.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};

/// How much of a failed program's output an error shows.
const SHOWN: usize = 3000;

/// One program to run.
#[derive(Clone, Debug)]
pub struct Run {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Input,
    log: Option<PathBuf>,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum Input {
    None,
    Text(String),
    File(PathBuf),
}

impl Run {
    /// A program, to be found in PATH or named by path. It gets ten minutes unless told otherwise.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            dir: None,
            stdin: Input::None,
            log: None,
            limit: Duration::from_secs(600),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Text for the program's standard input.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Input::Text(text.into());
        self
    }

    /// A file for the program's standard input.
    #[must_use]
    pub fn stdin_file(mut self, file: impl AsRef<Path>) -> Self {
        self.stdin = Input::File(file.as_ref().to_owned());
        self
    }

    /// Also append everything printed to this file.
    #[must_use]
    pub fn log(mut self, file: impl AsRef<Path>) -> Self {
        self.log = Some(file.as_ref().to_owned());
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Puts another program before this one, as `nsenter` and `chroot` want.
    #[must_use]
    pub fn under(mut self, wrapper: &[OsString]) -> Self {
        let Some((first, rest)) = wrapper.split_first() else {
            return self;
        };
        let program = std::mem::replace(&mut self.program, first.clone());
        let args = std::mem::take(&mut self.args);
        self.args = rest.iter().cloned().chain([program]).chain(args).collect();
        self
    }

    /// Runs it and returns what it printed on standard output.
    pub fn output(&self) -> Result<String> {
        let done = self.finish()?;
        self.keep_log(&done)?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(Error::Command {
            line: self.line(),
            status: done.status.to_string(),
            output: done.tail(),
        })
    }

    /// Runs it for its effect.
    pub fn run(&self) -> Result<()> {
        self.output().map(drop)
    }

    /// Whether it ran and succeeded.
    pub fn succeeds(&self) -> bool {
        self.output().is_ok()
    }

    /// The same as a plain `Command`, for programs that take over this process or its terminal.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words
            .map(|w| w.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn finish(&self) -> Result<Finished> {
        let mut child = self.spawn()?;
        let feeder = self.feed(&mut child);
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = self.wait(&mut child)?;
        if let Some(feeder) = feeder {
            let _ = feeder.join();
        }
        Ok(Finished {
            status,
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match &self.stdin {
            Input::None => command.stdin(Stdio::null()),
            Input::Text(_) => command.stdin(Stdio::piped()),
            Input::File(path) => command.stdin(File::open(path).on("opening", path)?),
        };
        command.spawn().doing(|| format!("starting {}", self.line()))
    }

    fn feed(&self, child: &mut Child) -> Option<JoinHandle<()>> {
        let Input::Text(text) = &self.stdin else {
            return None;
        };
        let mut pipe = child.stdin.take()?;
        let text = text.clone();
        Some(std::thread::spawn(move || {
            // A program that stops reading early says why by its exit code.
            let _ = pipe.write_all(text.as_bytes());
        }))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(status) = child
                .try_wait()
                .doing(|| format!("waiting for {}", self.line()))?
            {
                return Ok(status);
            }
            if started.elapsed() > self.limit {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::TimedOut {
                    what: self.line(),
                    seconds: self.limit.as_secs(),
                    last: "still running, ended".to_owned(),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn keep_log(&self, done: &Finished) -> Result<()> {
        let Some(path) = &self.log else { return Ok(()) };
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .on("opening", path)?;
        let head = format!("$ {}\n", self.line());
        [head.as_bytes(), &done.stdout, &done.stderr]
            .iter()
            .try_for_each(|part| file.write_all(part))
            .on("writing", path)
    }
}

struct Finished {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Finished {
    fn tail(&self) -> String {
        let both = [self.stdout.as_slice(), self.stderr.as_slice()].concat();
        let from = both.len().saturating_sub(SHOWN);
        String::from_utf8_lossy(&both[from..]).trim().to_owned()
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_returned() -> Result<()> {
        assert_eq!(Run::new("cat").stdin("hello").output()?, "hello");
        Ok(())
    }

    #[test]
    fn a_failure_says_what_was_printed() {
        let error = Run::new("sh")
            .args(["-c", "echo reason >&2; exit 3"])
            .run()
            .map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("reason") && e.contains('3')));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let error = Run::new("sleep").arg("30").limit(Duration::from_millis(50)).run();
        assert!(matches!(error, Err(Error::TimedOut { .. })));
    }

    #[test]
    fn a_wrapper_comes_first() {
        let run = Run::new("id")
            .arg("-u")
            .under(&["nsenter".into(), "--net=/n".into()]);
        assert_eq!(run.line(), "nsenter --net=/n id -u");
    }
}
