//! What befell the shops, and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use contracts::Service;
use serde::Serialize;

use crate::customers::Told;
use crate::plan::Point;
use crate::trouble::{Kind, Trouble};

/// With so many rounds everything should have struck.
const ENOUGH: u64 = 200;

/// How often something was tried, and how often it came about.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tries {
    rounds: u64,
    struck: u64,
    longest_ms: u128,
}

impl Tries {
    fn add(&mut self, has_struck: bool, took: Duration) {
        self.rounds += 1;
        self.struck += u64::from(has_struck);
        self.longest_ms = self.longest_ms.max(took.as_millis());
    }

    fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            rounds: sum.rounds + one.rounds,
            struck: sum.struck + one.struck,
            longest_ms: sum.longest_ms.max(one.longest_ms),
        })
    }
}

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The first shop's seed.
    seed: u64,
    shops: u64,
    rounds: u64,
    orders: usize,
    payments: usize,
    cancellations: usize,
    fulfilments: usize,
    refunds: usize,
    repeated: usize,
    troubles: BTreeMap<Kind, Tries>,
    points: BTreeMap<Point, BTreeMap<Service, Tries>>,
    /// What a shop is suffering.
    #[serde(skip)]
    pub(crate) doing: String,
    /// Where its files are.
    #[serde(skip)]
    pub(crate) root: PathBuf,
    /// What was found wrong.
    pub(crate) violation: Option<String>,
    /// What could not be tried here.
    pub(crate) impossible: Vec<Kind>,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// A round is over.
    pub(crate) fn add(&mut self, trouble: Trouble, has_struck: bool, took: Duration) {
        self.rounds += 1;
        self.troubles.entry(trouble.kind()).or_default().add(has_struck, took);
        if let Trouble::Point(death) = trouble {
            let services = self.points.entry(death.point).or_default();
            services.entry(death.service).or_default().add(has_struck, took);
        }
    }

    /// What should have struck in so many rounds, and did not.
    pub(crate) fn silent(&self) -> Vec<String> {
        if self.rounds < ENOUGH || self.violation.is_some() {
            return Vec::new();
        }
        let silent = |tries: Option<&Tries>| tries.is_none_or(|tries| tries.struck == 0);
        let kinds = Kind::ALL.iter().map(|(kind, _)| kind);
        let kinds = kinds.filter(|kind| !self.impossible.contains(kind) && silent(self.troubles.get(kind)));
        let points = Point::ALL.iter().filter(|point| silent(Some(&self.at(**point))));
        let kinds = kinds.map(|kind| format!("{kind:?}"));
        kinds.chain(points.map(|point| format!("{point:?}"))).collect()
    }

    fn at(&self, point: Point) -> Tries {
        Tries::sum(self.points.get(&point).into_iter().flat_map(BTreeMap::values))
    }

    /// How often it struck at each service, those at which it never did too.
    fn by_service(&self, point: Point) -> String {
        let tries = |service| self.points.get(&point)?.get(service);
        let struck = point.services().iter().map(|service| {
            let struck = tries(service).map_or(0, |tries| tries.struck);
            format!("{service} {struck}")
        });
        struck.collect::<Vec<_>>().join(", ")
    }

    /// A shop's books are right.
    pub(crate) fn settle(&mut self, told: &Told) {
        self.shops += 1;
        self.orders += told.orders.len();
        self.payments += told.payments.len();
        self.cancellations += told.cancelled.len();
        self.fulfilments += told.fulfilled.len();
        self.refunds += told.refunds.len();
        self.repeated += told.repeated;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_header(["", "rounds", "struck", "longest, ms", "struck at"]);
        for (kind, _) in Kind::ALL {
            let tries = self.troubles.get(&kind).copied();
            row(&mut table, kind.as_str(), tries.unwrap_or_default(), String::new());
        }
        for point in Point::ALL {
            let name = serde_json::to_value(point).map_err(|_| fmt::Error)?;
            let name = name.as_str().unwrap_or_default().replace('-', " ");
            row(
                &mut table,
                &format!("  killed {name}"),
                self.at(point),
                self.by_service(point),
            );
        }
        for column in 1..=3 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}\n")?;
        let Self {
            seed,
            shops,
            rounds,
            orders,
            payments,
            cancellations,
            fulfilments,
            refunds,
            repeated,
            ..
        } = self;
        writeln!(
            f,
            "{orders} orders, {payments} payments, {cancellations} cancellations, {fulfilments} fulfilments and {refunds} \
             refunds were acknowledged; {repeated} requests had no answer and were repeated."
        )?;
        for kind in &self.impossible {
            writeln!(f, "Not tried, since this user may not mount: {}.", kind.as_str())?;
        }
        match &self.violation {
            Some(violation) => write!(f, "Violated in round {} from seed {seed}: {violation}", rounds + 1),
            None => write!(
                f,
                "{rounds} rounds in {shops} shops from seed {seed}, nothing violated."
            ),
        }
    }
}

fn row(table: &mut Table, name: &str, tries: Tries, services: String) {
    let numbers = [tries.rounds.into(), tries.struck.into(), tries.longest_ms];
    table.add_row(
        [name.to_owned()]
            .into_iter()
            .chain(numbers.map(|it: u128| it.to_string()))
            .chain([services]),
    );
}
