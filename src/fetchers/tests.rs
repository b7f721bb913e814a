//! Fetchers of rings that were made by hand, at times of a clock that moves when told.

use std::net::Ipv6Addr;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto;
use jwksd_keystore::facts::{Facts, FirstKey, KeyTypes};
use jwksd_keystore::id::Revision;
use jwksd_keystore::lifecycle::{Life, Number, Origin, PlannedBy};
use jwksd_keystore::ring::Signing;
use jwksd_keystore::schedule::Rotation;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::Record;

use super::table::{LEAST, MOST, STEADY_AFTER, USER_AGENTS};
use super::*;
use crate::clock::ManualClock;

const START: Time = Time::from_millis(1_795_316_400_000);
const WINDOW: Duration = Duration::from_mins(5 + 24 * 60 + 1 + 60);

fn facts() -> Facts {
    Facts {
        algorithm: Algorithm::Es256,
        rotate: Rotation::Manual,
        jwks_max_age: Duration::from_mins(5),
        verifier_cache: Duration::from_hours(24),
        max_token_ttl: Duration::from_hours(1),
        clock_skew: Duration::from_mins(1),
        first_key: FirstKey::Generate,
        key_types: KeyTypes::One,
    }
}

fn life(number: u64, activates: Option<Time>) -> Life {
    Life {
        number: Number(number),
        algorithm: Algorithm::Es256,
        created: START,
        published: START,
        served_from: START,
        stale_max_age: Duration::ZERO,
        activates,
        planned_by: PlannedBy::Nobody,
        longest_ttl: Duration::from_hours(1),
        may_have_signed: false,
        ended: None,
        retires: None,
        origin: Origin::Generated,
        exported: None,
    }
}

/// Key sets with the keys 1 (signs from the start), 2 (signs an hour later), 3 and 4 (not planned).
struct Bench {
    clock: Arc<ManualClock>,
    fetchers: Fetchers,
    keyset: KeysetName,
    master_keys: Arc<MasterKeys>,
    records: Vec<Record>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let keyset: KeysetName = "default".parse().unwrap();
        let file = MasterKeys::generate_file().unwrap();
        let master_keys = Arc::new(MasterKeys::parse(&file).unwrap());
        let activations = [Some(START), Some(START + Duration::from_hours(1)), None, None];
        let records = (1..).zip(activations).map(|(number, activates)| {
            let pair = crypto::generate(Algorithm::Es256).unwrap();
            let life = life(number, activates);
            Record::of_new_key(&keyset, life, Revision(1), pair, &master_keys).unwrap()
        });
        let clock = Arc::new(ManualClock::new(START));
        let fetchers = Fetchers::new(clock.clone(), Some(settings));
        Self { records: records.collect(), clock, fetchers, keyset, master_keys }
    }

    /// The ring with the keys of these numbers.
    fn ring(&self, numbers: &[u64]) -> Ring {
        let is_in = |record: &&Record| numbers.contains(&record.life.number.0);
        let records: Vec<Record> = self.records.iter().filter(is_in).cloned().collect();
        let facts = facts();
        Ring::new(&self.keyset, &records, Some(&facts), Signing::On, &self.master_keys, None)
    }

    fn kid(&self, number: u64) -> &KeyId {
        &self.records.iter().find(|record| record.life.number.0 == number).unwrap().kid
    }

    fn watch(&self) -> Arc<Watch> {
        self.fetchers.watch().unwrap()
    }

    fn fetch(&self, ring: &Ring, peer: &str, user_agent: &str) {
        self.watch().note(&Fetch {
            keyset: &self.keyset,
            ring,
            peer: (peer != "unix").then(|| peer.parse().unwrap()),
            header: None,
            user_agent: user_agent.as_bytes(),
        });
    }

    fn seen(&self, ring: &Ring) -> Vec<Fetcher> {
        self.watch().fetched(&self.keyset, ring, self.clock.wall()).fetchers
    }

    /// Who is known, with its user agent.
    fn names(&self, ring: &Ring) -> Vec<(String, String)> {
        self.seen(ring).into_iter().map(|fetcher| (fetcher.who, fetcher.user_agent)).collect()
    }

    fn tally(&self, ring: &Ring) -> Tally {
        self.watch().tally(&self.keyset, ring, self.clock.wall())
    }
}

#[test]
fn a_fetcher_is_a_network_and_a_user_agent() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    for peer in ["192.0.2.1", "192.0.2.254", "::ffff:192.0.2.3"] {
        bench.fetch(&ring, peer, "shop/1");
    }
    bench.fetch(&ring, "192.0.2.1", "shop/2");
    bench.fetch(&ring, "2001:db8:1:ffff::1", "shop/1");
    bench.fetch(&ring, "unix", "");
    let seen = bench.seen(&ring);
    let of = |who: &str, user_agent: &str| {
        let mut found = seen.iter().filter(|f| f.who == who && f.user_agent == user_agent);
        found.next().map(|fetcher| fetcher.fetches)
    };
    assert_eq!(of("192.0.2.0/24", "shop/1"), Some(3));
    assert_eq!(of("192.0.2.0/24", "shop/2"), Some(1));
    assert_eq!(of("2001:db8:1::/48", "shop/1"), Some(1));
    assert_eq!(of("local", ""), Some(1));
    assert_eq!(seen.len(), 4);
}

#[test]
fn what_a_fetcher_lacks_is_told_by_the_keys_of_its_version() {
    let bench = Bench::new();
    let versions = [("a", [1].as_slice()), ("b", &[1, 2]), ("c", &[1, 2, 3]), ("d", &[1, 2, 3, 4])];
    for (user_agent, numbers) in versions {
        bench.fetch(&bench.ring(numbers), "192.0.2.1", user_agent);
    }
    // Key 1 was revoked, 2 signs and 3 is the standby.
    bench.clock.advance(Duration::from_hours(1));
    let now = bench.ring(&[2, 3, 4]);
    bench.fetch(&now, "192.0.2.1", "e");
    let seen = bench.seen(&now);
    let has: Vec<(&str, Has)> = seen.iter().map(|f| (f.user_agent.as_str(), f.has)).collect();
    assert_eq!(
        has,
        [
            ("a", Has::WithoutActive),
            ("b", Has::WithoutStandby),
            ("c", Has::Older),
            ("d", Has::Older),
            ("e", Has::Current),
        ]
    );
    let tally = bench.tally(&now);
    assert_eq!(
        tally,
        Tally { known: 5, current: 1, without_active: 1, without_standby: 2, forgotten: 0 }
    );
    let without = |number| bench.watch().without(&bench.keyset, &now, bench.kid(number));
    for (number, without_it) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
        let expected = OfKey { known: 5, without: without_it, forgotten: 0, several: 0 };
        assert_eq!(without(number), expected, "{number}");
    }
    let holding = bench.watch().holding(&bench.keyset, &now, bench.kid(1), bench.clock.wall());
    assert_eq!(holding.len(), 4);
    assert!(holding.iter().all(|fetcher| fetcher.user_agent != "e"));
}

#[test]
fn who_is_unseen_for_longer_than_the_window_is_dropped() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    bench.fetch(&ring, "192.0.2.1", "old");
    bench.clock.advance(Duration::from_mins(1));
    bench.fetch(&ring, "192.0.2.1", "new");
    bench.clock.advance(WINDOW.saturating_sub(Duration::from_mins(1)));
    assert_eq!(bench.tally(&ring).known, 2);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.names(&ring), [("192.0.2.0/24".to_owned(), "new".to_owned())]);
    let tally = bench.tally(&ring);
    assert_eq!((tally.known, tally.forgotten), (1, 0));
    assert_eq!(bench.watch().kept.load(Ordering::Relaxed), 1);
}

#[test]
fn times_are_those_of_the_wall_clock_as_it_is_now() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    bench.clock.advance(Duration::from_mins(1));
    bench.fetch(&ring, "192.0.2.1", "");
    bench.clock.advance(Duration::from_millis(90_500));
    assert_eq!(bench.seen(&ring)[0].last, START + Duration::from_mins(1));
    let year = Duration::from_hours(365 * 24);
    bench.clock.set_wall(START + year);
    assert_eq!(bench.seen(&ring)[0].last, (START + year).before(Duration::from_secs(91)));
    assert_eq!(bench.watch().since(), (START + year).before(Duration::from_secs(151)));
}

#[test]
fn of_one_prefix_some_user_agents_are_told_apart_and_the_others_are_one() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    for number in 0..1000 {
        bench.fetch(&ring, &format!("192.0.2.{}", number % 256), &format!("agent/{number}"));
    }
    let seen = bench.seen(&ring);
    assert_eq!(seen.len(), USER_AGENTS + 1);
    let others = seen.iter().find(|fetcher| fetcher.user_agent == OTHERS).unwrap();
    assert_eq!(usize::try_from(others.fetches), Ok(1000 - USER_AGENTS));
    assert_eq!(bench.tally(&ring).forgotten, 0);
}

/// As many networks as there are numbers.
fn network(number: u32) -> IpAddr {
    Ipv6Addr::from_bits((0x2a00_u128 << 112) | (u128::from(number) << 80) | 1).into()
}

#[test]
fn a_million_addresses_take_bounded_room_and_push_out_nobody_who_comes_again() {
    let bench = Bench::new();
    let ring = bench.ring(&[1, 2]);
    let steady: Vec<String> = (0..100).map(|number| format!("198.51.{number}.1")).collect();
    let fetch_steady = || steady.iter().for_each(|peer| bench.fetch(&ring, peer, "verifier/1"));
    fetch_steady();
    bench.clock.advance(STEADY_AFTER);
    fetch_steady();
    let watch = bench.watch();
    let long = "x".repeat(500);
    for number in 0..1_000_000 {
        if number % 1000 == 0 {
            bench.clock.advance(Duration::from_secs(1));
        }
        watch.note(&Fetch {
            keyset: &bench.keyset,
            ring: &ring,
            peer: Some(network(number)),
            header: None,
            user_agent: long.as_bytes(),
        });
    }
    let is_steady = |fetcher: &&Fetcher| fetcher.user_agent == "verifier/1";
    assert_eq!(bench.seen(&ring).iter().filter(is_steady).count(), 100);
    let tally = bench.tally(&ring);
    assert!((MOST - 16..=MOST).contains(&usize::try_from(tally.known).unwrap()), "{tally:?}");
    assert_eq!(tally.forgotten, 1_000_000 + 100 - tally.known);
    assert!(lock(&watch.tables.read().unwrap()[&bench.keyset]).is_sound());
    let bytes = watch.bytes();
    println!("{bytes} bytes after a million addresses");
    assert!(bytes < 64 << 10, "{bytes}");
    // Who comes after the flood finds room, and is known like those before.
    bench.fetch(&ring, "203.0.113.1", "late");
    assert!(bench.seen(&ring).iter().any(|fetcher| fetcher.user_agent == "late"));
}

#[test]
fn where_all_are_steady_the_one_that_was_unseen_for_longest_makes_room() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    let most = u32::try_from(MOST).unwrap();
    let come = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            bench.fetch(&ring, &network(number).to_string(), "");
        }
    };
    come(0..most);
    bench.clock.advance(STEADY_AFTER);
    come(0..most);
    bench.clock.advance(Duration::from_secs(1));
    come(1..most);
    bench.clock.advance(Duration::from_secs(1));
    come(most..most + 1);
    let names: Vec<String> = bench.names(&ring).into_iter().map(|(who, _)| who).collect();
    let is_known = |number| {
        let network = Prefixes::default().network::<Text>(network(number)).to_string();
        names.contains(&network)
    };
    assert!(!is_known(0) && is_known(1) && is_known(most));
    assert_eq!((names.len(), bench.tally(&ring).forgotten), (MOST, 1));
}

#[test]
fn all_key_sets_together_have_bounded_room_and_each_has_some() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    let watch = bench.watch();
    let sets: Vec<KeysetName> =
        (0..200).map(|number| format!("tenant-{number}").parse().unwrap()).collect();
    for keyset in &sets {
        for number in 0..u32::try_from(MOST).unwrap() {
            let peer = Some(network(number));
            watch.note(&Fetch { keyset, ring: &ring, peer, header: None, user_agent: b"" });
        }
    }
    let known = |keyset| watch.tally(keyset, &ring, START).known;
    assert_eq!(usize::try_from(known(&sets[0])), Ok(MOST));
    assert_eq!(usize::try_from(known(&sets[199])), Ok(LEAST));
    let all: u64 = sets.iter().map(known).sum();
    assert!(usize::try_from(all).unwrap() <= MOST_IN_ALL + LEAST * sets.len(), "{all}");
    assert_eq!(usize::try_from(all), Ok(watch.kept.load(Ordering::Relaxed)));
}

#[test]
fn a_fetch_never_waits_for_whoever_looks() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    bench.fetch(&ring, "192.0.2.1", "");
    let watch = bench.watch();
    let tables = watch.tables.read().unwrap();
    let held = lock(&tables[&bench.keyset]);
    bench.fetch(&ring, "192.0.2.1", "");
    drop(held);
    drop(tables);
    let tables = watch.tables.write().unwrap();
    bench.fetch(&ring, "192.0.2.1", "");
    drop(tables);
    assert_eq!(bench.seen(&ring)[0].fetches, 1);
}

#[test]
fn other_settings_begin_anew_and_the_same_go_on() {
    let bench = Bench::new();
    let ring = bench.ring(&[1]);
    bench.fetch(&ring, "192.0.2.1", "");
    bench.clock.advance(Duration::from_hours(1));
    bench.fetchers.put_in_force(Some(Settings::default()));
    assert_eq!((bench.tally(&ring).known, bench.watch().since()), (1, START));
    let prefixes = Prefixes { ipv4: 32, ipv6: 128 };
    bench.fetchers.put_in_force(Some(Settings { prefixes, header: None }));
    assert_eq!(bench.tally(&ring), Tally::default());
    assert_eq!(bench.watch().since(), bench.clock.wall());
    bench.fetch(&ring, "192.0.2.1", "");
    assert_eq!(bench.names(&ring)[0].0, "192.0.2.1/32");
    bench.fetchers.put_in_force(None);
    assert!(bench.fetchers.watch().is_none());
}
