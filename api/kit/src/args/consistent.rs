//! Flags that have no meaning because another one switches off what they are about.

use clap::parser::ValueSource;
use clap::{ArgMatches, error::ErrorKind};

/// Refuses each of `flags` that somebody gave while `switch` is false. Both are named as clap names them, by field.
///
/// To be called from an implementation of `FromArgMatches` that is flattened before all fields: clap takes the
/// values out of `matches` as it fills the fields.
///
/// # Errors
/// Names the first such flag and the switch.
pub fn refuse_without(matches: &ArgMatches, switch: &str, flags: &[&str]) -> Result<(), clap::Error> {
    if matches.get_one::<bool>(switch) != Some(&false) {
        return Ok(());
    }
    let given = |flag: &&&str| {
        let source = matches.value_source(flag);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    let Some(flag) = flags.iter().find(given) else {
        return Ok(());
    };
    let message = format!(
        "--{} has no meaning with --{}=false: take one of them away",
        flag.replace('_', "-"),
        switch.replace('_', "-")
    );
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
}

/// Makes a type without flags that refuses flags by [`refuse_without`]: `switch => [flag, …]`.
#[macro_export]
macro_rules! consistent {
    ($name:ident: $($switch:literal => [$($flag:literal),+ $(,)?]),+ $(,)?) => {
        /// Flags that contradict each other are refused.
        #[derive(Debug, Clone, Default)]
        pub struct $name;

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                $($crate::args::refuse_without(matches, $switch, &[$($flag),+])?;)+
                Ok(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                *self = <Self as clap::FromArgMatches>::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                command
            }
        }
    };
}
