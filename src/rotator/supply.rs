//! The key pairs that new keys are made of: ordered from who makes them, in stock, and put into records.
//! What was asked for and cannot be done before one is there is parked until then.

use std::collections::HashMap;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::id::{KeysetName, Revision};
use jwksd_keystore::lifecycle::{Departure, Life, Number, Origin, Plan, Step};
use jwksd_keystore::store::{Loaded, Record};

use super::incoming::Named;
use super::keygen::{self, Made, Need, Ordered};
use super::{Request, Rotator, StepError, answer};

impl Rotator {
    /// The records of the keys that a plan creates.
    ///
    /// # Errors
    ///
    /// [`StepError::NeedsKey`] when pairs are missing; they were ordered then.
    pub(super) fn made_records(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        steps: &[Step],
        incoming: Option<Named<'_>>,
    ) -> Result<HashMap<Number, Record>, StepError> {
        let revision = loaded.revision.next();
        let brought = created(steps).filter(|life| life.origin != Origin::Generated);
        let mut made = self.records_from_stock(keyset, &generated(steps), revision)?;
        for (life, named) in brought.zip(incoming) {
            made.insert(life.number, self.brought_record(keyset, life, named, revision)?);
        }
        Ok(made)
    }

    /// The records of keys made here, from the stock of key pairs.
    fn records_from_stock(
        &mut self,
        keyset: &KeysetName,
        created: &[&Life],
        revision: Revision,
    ) -> Result<HashMap<Number, Record>, StepError> {
        let missing = self.missing_pairs(keyset, created);
        if !missing.is_empty() {
            self.order(keyset, &missing);
            return Err(StepError::NeedsKey);
        }
        let stock = self.stock.entry(keyset.clone()).or_default();
        let mut made = HashMap::new();
        for &life in created {
            let index = stock.iter().position(|(algorithm, _)| *algorithm == life.algorithm);
            let (_, pair) = stock.swap_remove(index.ok_or(StepError::NeedsKey)?);
            let keys = &self.parts.master_keys;
            let record = Record::of_new_key(keyset, life.clone(), revision, pair, keys)?;
            made.insert(life.number, record);
        }
        if stock.is_empty() {
            self.stock.remove(keyset);
        }
        Ok(made)
    }

    /// The algorithms of the keys for which no pair is in stock.
    fn missing_pairs(&self, keyset: &KeysetName, created: &[&Life]) -> Vec<Algorithm> {
        let mut missing: Vec<_> = created.iter().map(|life| life.algorithm).collect();
        for (algorithm, _) in self.stock.get(keyset).into_iter().flatten() {
            if let Some(index) = missing.iter().position(|wanted| wanted == algorithm) {
                missing.swap_remove(index);
            }
        }
        missing
    }

    /// What of a plan is done before a key pair is there that takes its time: the secret of a key that
    /// ended is not kept for as long as the cores are busy.
    pub(super) fn without_long_waits(&mut self, keyset: &KeysetName, mut plan: Plan) -> Plan {
        let missing = self.missing_pairs(keyset, &generated(&plan.steps));
        if keygen::any_takes_long(&missing) && plan.steps.iter().any(is_departure) {
            self.order(keyset, &missing);
            plan.steps.retain(is_departure);
        }
        plan
    }

    /// Orders key pairs that are not being made; those that are, once more where somebody waits for
    /// them, and who makes them takes what others leave.
    fn order(&mut self, keyset: &KeysetName, missing: &[Algorithm]) {
        let is_ahead = keygen::any_takes_long(missing) && !self.is_waited_for(keyset);
        let need = if is_ahead { Need::Ahead } else { Need::Now };
        let before = self.ordered.get(keyset).copied();
        let Some(ordered) = Ordered::with(before, missing.len(), need) else { return };
        self.ordered.insert(keyset.clone(), ordered);
        for algorithm in missing {
            self.keygen.order(keyset, *algorithm, need);
        }
    }

    /// Whether anybody waits for the next key pair of a set.
    fn is_waited_for(&self, keyset: &KeysetName) -> bool {
        self.signing_kid(keyset, self.now()).is_none() || self.parked.contains_key(keyset)
    }

    /// The record of a key that comes from elsewhere.
    fn brought_record(
        &self,
        keyset: &KeysetName,
        life: &Life,
        Named { key, kid }: Named<'_>,
        revision: Revision,
    ) -> Result<Record, StepError> {
        let (life, kid) = (life.clone(), kid.clone());
        if life.origin == Origin::Trusted {
            return Ok(Record::of_trusted_key(life, kid, key.public().clone()));
        }
        let keys = &self.parts.master_keys;
        Ok(Record::of_imported_key(keyset, life, kid, revision, key.pair()?, keys)?)
    }

    /// Takes a key pair that was made, or that there is none, and goes on with what waits for it.
    pub(super) fn take_delivery(&mut self, made: Made) {
        let keyset = made.keyset;
        let ordered = self.ordered.remove(&keyset);
        let is_waited_for = ordered.is_none_or(Ordered::is_taken_up_with_the_next);
        if let Some(rest) = ordered.and_then(Ordered::without_one) {
            self.ordered.insert(keyset.clone(), rest);
        }
        match made.pair {
            Ok(pair) => {
                self.stock.entry(keyset.clone()).or_default().push((made.algorithm, pair));
                if !is_waited_for {
                    // Another is on its way.
                } else if self.revoking.contains_key(&keyset) || self.parked.contains_key(&keyset) {
                    self.tick(&keyset);
                    self.take_up_parked(&keyset);
                } else {
                    // Together with others that wait for time.
                    let now = self.now();
                    self.due.set(&keyset, Some(now));
                }
            }
            Err(error) if self.revoking.contains_key(&keyset) => {
                self.revocations_stay(&keyset, &StepError::NoKeyPair(error));
                for request in self.unpark(&keyset) {
                    answer(&request, Err(StepError::RevocationPending));
                }
            }
            Err(error) => {
                self.retry_later(&keyset, &StepError::NoKeyPair(error));
                for request in self.unpark(&keyset) {
                    answer(&request, Err(StepError::NoKeyPair(error)));
                }
            }
        }
    }

    /// Tries again what was parked.
    fn take_up_parked(&mut self, keyset: &KeysetName) {
        for request in self.unpark(keyset) {
            self.command(request);
        }
    }

    /// Keeps a request until the key pair is there that it needs.
    pub(super) fn park(&mut self, request: Request) {
        let keyset = request.keyset.clone();
        self.parked.entry(keyset.clone()).or_default().push(request);
        if self.ordered.get(&keyset).is_some_and(|ordered| ordered.need() == Need::Ahead) {
            // What is being made ahead is waited for now.
            self.tick(&keyset);
        }
    }

    fn unpark(&mut self, keyset: &KeysetName) -> Vec<Request> {
        self.parked.remove(keyset).unwrap_or_default()
    }
}

/// The keys that a plan creates.
fn created(steps: &[Step]) -> impl Iterator<Item = &Life> {
    steps.iter().filter_map(|step| match step {
        Step::Create(life) => Some(life),
        _ => None,
    })
}

/// Those of them that are made here.
fn generated(steps: &[Step]) -> Vec<&Life> {
    created(steps).filter(|life| life.origin == Origin::Generated).collect()
}

/// Whether a key ends, or leaves, because its time has come: whatever else is planned, this holds.
fn is_departure(step: &Step) -> bool {
    matches!(step, Step::End { .. } | Step::Bury { departure: Departure::Retired, .. })
}
