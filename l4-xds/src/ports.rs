//! Which port Envoy listens on for which port of which load balancer: a pure function of what is wanted and what is
//! recorded.
//!
//! It keeps no state. The record is kept elsewhere (the hub Service's targetPort) and comes in as `previous`; a
//! listener may enter a snapshot only with a recorded port, so two replicas that meet new objects in a different
//! order still serve the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::ir::{LoadBalancerId, Protocol};

/// Ports that our Envoys use themselves: the only place where these numbers are written down.
pub mod envoy {
    /// Admin interface, on loopback only.
    pub const ADMIN: u16 = 19000;
    /// Readiness and Prometheus statistics, for the kubelet and for scrapers.
    pub const READINESS: u16 = 19001;
    /// Everything kept for Envoy and what runs beside it (admin, readiness, drain helper and room to grow).
    pub const RESERVED: std::ops::RangeInclusive<u16> = 19000..=19999;
}

/// One port of one load balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// Whose.
    pub id: LoadBalancerId,
    /// The Service's port number.
    pub port: u16,
    /// Protocol. Each protocol has the whole range to itself.
    pub protocol: Protocol,
}

/// Ports that may be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange {
    ranges: Vec<RangeInclusive<u16>>,
    reserved: Vec<RangeInclusive<u16>>,
}

impl Default for PortRange {
    /// 10000 to 32767 without Envoy's own. Above that begins Linux' default range of ephemeral ports
    /// (`net.ipv4.ip_local_port_range`, from 32768): Envoy's own upstream connections sit on those, and binding a
    /// listener to a number that one of them holds fails with "address in use".
    fn default() -> Self {
        Self::new(vec![10000..=32767], vec![])
    }
}

impl PortRange {
    /// Gives out `ranges` except `reserved`, and never [`envoy::RESERVED`] or port 0.
    pub fn new(ranges: Vec<RangeInclusive<u16>>, mut reserved: Vec<RangeInclusive<u16>>) -> Self {
        reserved.extend([envoy::RESERVED, 0..=0]);
        Self { ranges, reserved }
    }

    /// Whether nobody's listener may have this port, recorded or not.
    pub fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|range| range.contains(&port))
    }

    fn candidates(&self) -> Vec<u16> {
        let all: BTreeSet<u16> = self.ranges.iter().cloned().flatten().collect();
        all.into_iter().filter(|port| !self.is_reserved(*port)).collect()
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignments {
    /// Every wanted key that has a port.
    pub assigned: BTreeMap<PortKey, u16>,
    /// Every wanted key for which no port was left.
    pub exhausted: BTreeSet<PortKey>,
}

/// Ports that somebody has, a bit for each.
#[derive(Debug, Default)]
pub struct Taken(Vec<u64>);

impl Taken {
    /// Takes one. False where it was taken before.
    pub fn insert(&mut self, protocol: Protocol, port: u16) -> bool {
        let (word, bit) = Self::place(protocol, port);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let word = &mut self.0[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether somebody has it.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        let (word, bit) = Self::place(protocol, port);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The bits of UDP follow those of TCP, which most have.
    fn place(protocol: Protocol, port: u16) -> (usize, u64) {
        let number = match protocol {
            Protocol::Tcp => usize::from(port),
            Protocol::Udp => usize::from(port) + (1 << u16::BITS),
        };
        (number / 64, 1 << (number % 64))
    }
}

/// Gives every wanted key a port.
///
/// A recorded port is kept, also one that a narrower range no longer covers: moving it would break traffic for no
/// gain. Two exceptions: a reserved port is never kept, and of several keys recorded on one port the smallest key
/// keeps it. The rest probe the range from a start that depends on the key alone, so a set of keys always gives the
/// same answer, whatever the order it is listed in.
pub fn allocate(
    wanted: &BTreeSet<PortKey>,
    previous: &BTreeMap<PortKey, u16>,
    range: &PortRange,
) -> Assignments {
    let mut result = Assignments::default();
    let mut taken = Taken::default();
    let mut without = Vec::new();
    // `wanted` is sorted, hence "the smallest key keeps it".
    for key in wanted {
        let recorded = previous
            .get(key)
            .copied()
            .filter(|port| !range.is_reserved(*port));
        match recorded.filter(|port| taken.insert(key.protocol, *port)) {
            Some(port) => drop(result.assigned.insert(key.clone(), port)),
            None => without.push(key),
        }
    }
    if without.is_empty() {
        return result;
    }
    let candidates = range.candidates();
    let mut free = Free::new(&candidates, &taken);
    for key in without {
        match free.take(key) {
            Some(port) => drop(result.assigned.insert(key.clone(), port)),
            None => drop(result.exhausted.insert(key.clone())),
        }
    }
    result
}

/// Ports not given out yet, by protocol. Sorted sets, so that the next free port after a start is one look-up and
/// the search is bounded however full the range is.
struct Free<'a> {
    candidates: &'a [u16],
    by_protocol: BTreeMap<Protocol, BTreeSet<u16>>,
}

impl<'a> Free<'a> {
    fn new(candidates: &'a [u16], taken: &Taken) -> Self {
        let free = |protocol| {
            candidates
                .iter()
                .copied()
                .filter(|port| !taken.contains(protocol, *port))
                .collect()
        };
        let by_protocol = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, free(protocol)));
        Self {
            candidates,
            by_protocol: by_protocol.into(),
        }
    }

    fn take(&mut self, key: &PortKey) -> Option<u16> {
        let free = self.by_protocol.get_mut(&key.protocol)?;
        let start = start(key, self.candidates)?;
        let port = free.range(start..).next().or_else(|| free.first()).copied()?;
        free.remove(&port);
        Some(port)
    }
}

/// Where the search for `key` begins. `DefaultHasher` would do, but its result may change with the toolchain, and
/// replicas of two releases have to agree during an upgrade.
fn start(key: &PortKey, candidates: &[u16]) -> Option<u16> {
    let mut hash = Sha256::new();
    for part in [key.id.namespace(), key.id.name(), key.protocol.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(key.port.to_be_bytes());
    let seed = hash
        .finalize()
        .iter()
        .take(8)
        .fold(0u64, |seed, byte| (seed << 8) | u64::from(*byte));
    let index = seed.checked_rem(candidates.len() as u64)?;
    candidates.get(usize::try_from(index).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_is_taken_once_for_each_protocol() {
        let mut taken = Taken::default();
        for port in [0, 63, 64, u16::MAX] {
            assert!(!taken.contains(Protocol::Tcp, port));
            assert!(taken.insert(Protocol::Tcp, port));
            assert!(!taken.insert(Protocol::Tcp, port));
            assert!(taken.contains(Protocol::Tcp, port));
            assert!(taken.insert(Protocol::Udp, port));
        }
        assert!(!taken.contains(Protocol::Tcp, 62));
    }

    fn key(name: &str, port: u16, protocol: Protocol) -> PortKey {
        PortKey {
            id: LoadBalancerId::new("tenant-a", name).unwrap(),
            port,
            protocol,
        }
    }

    fn small() -> PortRange {
        PortRange::new(vec![10000..=10009], vec![])
    }

    #[test]
    fn envoys_own_ports_are_never_given_out_even_if_recorded() {
        let range = PortRange::new(vec![18999..=20000], vec![]);
        assert_eq!(range.candidates(), vec![18999, 20000]);
        let web = key("web", 80, Protocol::Tcp);
        let previous = BTreeMap::from([(web.clone(), envoy::READINESS)]);
        let result = allocate(&BTreeSet::from([web.clone()]), &previous, &range);
        assert_ne!(result.assigned[&web], envoy::READINESS);
    }

    #[test]
    fn of_two_keys_recorded_on_one_port_the_smaller_keeps_it() {
        let (a, b) = (key("a", 80, Protocol::Tcp), key("b", 80, Protocol::Tcp));
        let previous = BTreeMap::from([(a.clone(), 10001), (b.clone(), 10001)]);
        let result = allocate(&BTreeSet::from([b.clone(), a.clone()]), &previous, &small());
        assert_eq!(result.assigned[&a], 10001);
        assert_ne!(result.assigned[&b], 10001);
    }

    #[test]
    fn tcp_and_udp_may_have_the_same_number() {
        let one = PortRange::new(vec![10000..=10000], vec![]);
        let wanted = BTreeSet::from([key("dns", 53, Protocol::Tcp), key("dns", 53, Protocol::Udp)]);
        let result = allocate(&wanted, &BTreeMap::new(), &one);
        assert_eq!(
            result.assigned.values().copied().collect::<Vec<_>>(),
            vec![10000, 10000]
        );
        assert!(result.exhausted.is_empty());
    }

    #[test]
    fn a_narrower_range_moves_nobody() {
        let web = key("web", 80, Protocol::Tcp);
        let previous = BTreeMap::from([(web.clone(), 55555)]);
        assert_eq!(
            allocate(&BTreeSet::from([web.clone()]), &previous, &small()).assigned[&web],
            55555
        );
    }

    #[test]
    fn an_empty_range_exhausts_at_once() {
        let web = key("web", 80, Protocol::Tcp);
        let none = PortRange::new(vec![], vec![]);
        assert!(
            allocate(&BTreeSet::from([web.clone()]), &BTreeMap::new(), &none)
                .exhausted
                .contains(&web)
        );
    }

    #[test]
    fn the_assignment_of_a_key_does_not_change_between_releases() {
        let wanted = BTreeSet::from([key("web", 80, Protocol::Tcp)]);
        let result = allocate(&wanted, &BTreeMap::new(), &PortRange::default());
        insta::assert_snapshot!(result.assigned.values().next().unwrap());
    }

    fn any_key() -> impl Strategy<Value = PortKey> {
        (0..6u8, 1..5u16, any::<bool>()).prop_map(|(name, port, tcp)| {
            key(
                &format!("lb-{name}"),
                port,
                if tcp { Protocol::Tcp } else { Protocol::Udp },
            )
        })
    }

    proptest! {
        #[test]
        fn ports_are_unique_recorded_ones_stay_and_nothing_is_lost(
            wanted in prop::collection::btree_set(any_key(), 0..30),
            previous in prop::collection::btree_map(any_key(), 9995..10015u16, 0..30),
        ) {
            let range = PortRange::new(vec![10000..=10009], vec![10004..=10004]);
            let result = allocate(&wanted, &previous, &range);

            let served: BTreeSet<_> = result.assigned.iter().map(|(k, p)| (k.protocol, *p)).collect();
            prop_assert_eq!(served.len(), result.assigned.len(), "a port was given out twice");
            for (key, port) in &result.assigned {
                prop_assert!(!range.is_reserved(*port));
                prop_assert!(wanted.contains(key));
                prop_assert!(previous.get(key) == Some(port) || (10000..=10009).contains(port));
            }
            for key in &wanted {
                prop_assert!(result.assigned.contains_key(key) != result.exhausted.contains(key));
            }
            // Exhausted only when really nothing is left.
            for key in &result.exhausted {
                let left = range.candidates().iter().filter(|p| !served.contains(&(key.protocol, **p))).count();
                prop_assert_eq!(left, 0);
            }
            // What has been answered and is then recorded never moves, whoever joins or leaves.
            prop_assert_eq!(&allocate(&wanted, &result.assigned, &range).assigned, &result.assigned);
            let fewer: BTreeSet<_> = wanted.iter().skip(1).cloned().collect();
            for (key, port) in allocate(&fewer, &result.assigned, &range).assigned {
                if let Some(recorded) = result.assigned.get(&key) {
                    prop_assert_eq!(port, *recorded);
                }
            }
        }
    }

    /// One thing that happens on the hub, or at one of its two replicas.
    #[derive(Debug, Clone)]
    enum Step {
        /// A tenant makes a port, or takes it away.
        Want(PortKey, bool),
        /// The watches of this replica show it what is there.
        See(usize),
        /// The leader writes what it finds.
        Write,
        /// This replica gets the lease. Terms do not overlap, and a lease outlasts the lag of a watch: it sees all that was
        /// written before.
        Lead(usize),
    }

    fn any_interleaving() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (any_key(), prop::bool::weighted(0.7)).prop_map(|(key, wanted)| Step::Want(key, wanted)),
            2 => (0..2_usize).prop_map(Step::See),
            3 => Just(Step::Write),
            1 => (0..2_usize).prop_map(Step::Lead),
        ];
        prop::collection::vec(step, 1..80)
    }

    /// What is wanted and what is recorded, on the hub or as a replica sees it.
    #[derive(Debug, Clone, Default)]
    struct World {
        wanted: BTreeSet<PortKey>,
        recorded: BTreeMap<PortKey, u16>,
    }

    proptest! {
        #[test]
        fn no_recorded_port_moves_however_two_replicas_take_turns(steps in any_interleaving()) {
            let range = PortRange::new(vec![10000..=10009], vec![10004..=10004]);
            let (mut hub, mut seen, mut leader) = (World::default(), [World::default(), World::default()], 0);
            for step in steps {
                match step {
                    Step::Want(key, true) => drop(hub.wanted.insert(key)),
                    Step::Want(key, false) => drop(hub.wanted.remove(&key)),
                    Step::See(replica) => seen[replica] = hub.clone(),
                    Step::Lead(replica) => {
                        leader = replica;
                        seen[leader] = hub.clone();
                    }
                    Step::Write => {
                        let view = &mut seen[leader];
                        let before = std::mem::take(&mut hub.recorded);
                        let found = allocate(&view.wanted, &view.recorded, &range);
                        let candidates = range.candidates().len();
                        let asked = |protocol| view.wanted.iter().filter(|key| key.protocol == protocol).count();
                        let fit = [Protocol::Tcp, Protocol::Udp].map(asked).iter().all(|asked| *asked <= candidates);
                        prop_assert_eq!(found.exhausted.is_empty(), fit, "no port left is an error, and nothing else is");
                        hub.recorded = found.assigned;
                        // It waits until its watch shows what it wrote.
                        view.recorded.clone_from(&hub.recorded);
                        for (key, port) in &hub.recorded {
                            prop_assert!(before.get(key).is_none_or(|before| before == port), "{:?} moved", key);
                            prop_assert!(!range.is_reserved(*port));
                        }
                        let distinct: BTreeSet<_> = hub.recorded.iter().map(|(key, port)| (key.protocol, port)).collect();
                        prop_assert_eq!(distinct.len(), hub.recorded.len(), "a port was given out twice");
                    }
                }
            }
            // Whoever looks at the same gives the same answer.
            let answers = [0, 1].map(|_| allocate(&hub.wanted, &hub.recorded, &range));
            prop_assert_eq!(&answers[0], &answers[1]);
        }
    }
}
