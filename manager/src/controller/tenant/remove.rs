//! How a tenant leaves. Pure: what is left decides the next step, so it works in whatever order people deleted
//! things by hand before.
//!
//! Its rights go first, or its CCM would make again what is deleted. Then its objects, so that what was made
//! from them goes in good order; then the namespace with whatever else is in it.

use jiff::{SignedDuration, Timestamp};

/// After this time the namespace goes even if hub objects are still there: it takes them along.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What is left of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// The credential, its Role and its account.
    pub rights: usize,
    /// LoadBalancers, Routes, SyncSecrets and Addresses.
    pub resources: usize,
    /// Hub objects that were made from them.
    pub hub_objects: usize,
    /// The namespace.
    pub namespace: NamespaceLeft,
}

/// What is left of the namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NamespaceLeft {
    /// Nothing, or it never was this tenant's.
    #[default]
    Gone,
    /// It is there.
    There,
    /// It is being deleted.
    Terminating,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Delete the credential and its rights.
    Revoke,
    /// Delete the tenant's objects.
    DeleteResources,
    /// The controllers are removing what they made.
    WaitForHubObjects,
    /// Delete the namespace.
    DeleteNamespace,
    /// The namespace is going.
    WaitForNamespace,
    /// Nothing is left: let the Tenant go.
    Done,
}

impl Step {
    /// For the condition.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Revoke => "its rights are being revoked",
            Self::DeleteResources => "its objects are being deleted",
            Self::WaitForHubObjects => "what was made from its objects is being removed",
            Self::DeleteNamespace | Self::WaitForNamespace => "its namespace is being deleted",
            Self::Done => "nothing is left",
        }
    }
}

/// Decides.
#[must_use]
pub fn next(left: &Left, deleted_at: Timestamp, now: Timestamp) -> Step {
    let Left {
        rights,
        resources,
        hub_objects,
        namespace,
    } = left;
    match namespace {
        NamespaceLeft::Gone => return Step::Done,
        NamespaceLeft::Terminating => return Step::WaitForNamespace,
        NamespaceLeft::There => {}
    }
    if *rights > 0 {
        Step::Revoke
    } else if *resources > 0 {
        Step::DeleteResources
    } else if *hub_objects > 0 && now.duration_since(deleted_at) < PATIENCE {
        Step::WaitForHubObjects
    } else {
        Step::DeleteNamespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn there(rights: usize, resources: usize, hub_objects: usize) -> Left {
        Left {
            rights,
            resources,
            hub_objects,
            namespace: NamespaceLeft::There,
        }
    }

    #[test]
    fn rights_go_first_and_the_namespace_last() {
        assert_eq!(next(&there(1, 1, 1), at(0), at(1)), Step::Revoke);
        assert_eq!(next(&there(0, 1, 1), at(0), at(1)), Step::DeleteResources);
        assert_eq!(next(&there(0, 0, 1), at(0), at(1)), Step::WaitForHubObjects);
        assert_eq!(next(&there(0, 0, 0), at(0), at(1)), Step::DeleteNamespace);
    }

    #[test]
    fn a_hub_object_that_does_not_go_holds_nothing_up_for_ever() {
        assert_eq!(next(&there(0, 0, 1), at(0), at(61)), Step::DeleteNamespace);
    }

    #[test]
    fn a_namespace_that_somebody_deleted_before_is_waited_for_and_then_it_is_done() {
        let going = Left {
            namespace: NamespaceLeft::Terminating,
            ..there(1, 1, 1)
        };
        assert_eq!(next(&going, at(0), at(1)), Step::WaitForNamespace);
        assert_eq!(next(&Left::default(), at(0), at(1)), Step::Done);
    }
}
