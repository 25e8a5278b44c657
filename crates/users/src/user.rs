//! The account: who somebody is to the shop, without anything personal. The rest is in [`crate::records`].

use contracts::user::{AssignableRole, Erased, LoggedIn, Registered, Updated};
use contracts::{Role, SessionId, UserId};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::{Error, Event};

/// An account's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// What the user may do.
    pub role: Role,
    /// Whether it is there for others.
    pub status: Status,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How often it changed: the version that clients see. Signing in changes nothing that they could overwrite.
    pub changes: u64,
    /// How many events are folded into it.
    pub version: u64,
}

/// Whether an account is there for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is.
    Active,
    /// Its owner is gone, and with them all that was personal.
    Erased,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Erased => "erased",
        }
    }
}

/// What can be asked of an account.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make it.
    Register {
        /// Its new id.
        id: UserId,
        /// What its owner may do.
        role: AssignableRole,
    },
    /// Note that these fields of its records change.
    Change {
        /// Their names.
        fields: Vec<&'static str>,
    },
    /// Let its owner do more, or less.
    SetRole {
        /// The new role.
        role: AssignableRole,
        /// Whether it is the only admin's account.
        last_admin: bool,
    },
    /// Begin a session.
    LogIn {
        /// Its new id.
        session_id: SessionId,
    },
    /// Delete it.
    Erase {
        /// Whether it is the only admin's account.
        last_admin: bool,
    },
}

impl Document for User {
    const COLLECTION: &'static Collection = &Collection {
        name: "users",
        kind: Kind::View,
        columns: &[
            Column {
                name: "status",
                column_type: ColumnType::Text,
            },
            Column {
                name: "created_at",
                column_type: ColumnType::Integer,
            },
        ],
        indexes: &[Index {
            name: "by_status_created",
            columns: &["status", "created_at"],
        }],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.status.as_str().into(), self.created_at.into()]
    }
}

impl Aggregate for User {
    type Command = Command;
    type Event = Event;
    type Error = Error;

    fn version(&self) -> u64 {
        self.version
    }

    fn decide(state: Option<&Self>, command: Command, _: Timestamp) -> Result<Vec<Event>, Error> {
        let user = match (state, &command) {
            (None, Command::Register { id, role }) => {
                return Ok(vec![
                    Registered {
                        user_id: *id,
                        role: (*role).into(),
                    }
                    .into(),
                ]);
            }
            (None, _) => return Err(Error::Unknown),
            (Some(user), _) => user,
        };
        match user.status {
            Status::Active => user.decide_active(command),
            Status::Erased => match command {
                Command::Register { .. } | Command::Erase { .. } => Ok(Vec::new()),
                Command::Change { .. } | Command::SetRole { .. } | Command::LogIn { .. } => Err(Error::Unknown),
            },
        }
    }

    fn apply(state: &mut Option<Self>, event: &Event, at: &Occurrence<'_>) {
        match event {
            Event::Registered(registered) => {
                *state = Some(Self {
                    id: registered.user_id,
                    role: registered.role,
                    status: Status::Active,
                    created_at: at.time,
                    updated_at: at.time,
                    changes: 1,
                    version: at.version,
                });
            }
            Event::Updated(updated) => {
                if let Some(user) = state {
                    user.role = updated.role;
                    user.change(at);
                }
            }
            Event::LoggedIn(_) => {}
            Event::Erased(_) => {
                if let Some(user) = state {
                    user.status = Status::Erased;
                    user.change(at);
                }
            }
        }
        if let Some(user) = state {
            user.version = at.version;
        }
    }
}

impl User {
    fn decide_active(&self, command: Command) -> Result<Vec<Event>, Error> {
        let user_id = self.id;
        Ok(match command {
            Command::Register { .. } => Vec::new(),
            Command::Change { fields } if fields.is_empty() => Vec::new(),
            Command::Change { fields } => {
                let changed = fields.into_iter().map(str::to_owned).collect();
                vec![
                    Updated {
                        user_id,
                        changed,
                        role: self.role,
                    }
                    .into(),
                ]
            }
            Command::SetRole { role, .. } if Role::from(role) == self.role => Vec::new(),
            Command::SetRole {
                role: AssignableRole::Customer,
                last_admin: true,
            }
            | Command::Erase { last_admin: true } => {
                return Err(Error::LastAdmin);
            }
            Command::SetRole { role, .. } => {
                vec![
                    Updated {
                        user_id,
                        changed: vec!["role".to_owned()],
                        role: role.into(),
                    }
                    .into(),
                ]
            }
            Command::LogIn { session_id } => vec![LoggedIn { user_id, session_id }.into()],
            Command::Erase { last_admin: false } => vec![Erased { user_id }.into()],
        })
    }

    fn change(&mut self, at: &Occurrence<'_>) {
        self.changes += 1;
        self.updated_at = at.time;
    }

    /// Whether somebody can sign in to it, read it and change it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }
}

#[cfg(test)]
mod tests {
    use contracts::Service;
    use proptest::prelude::*;
    use testkit::aggregate::{Given, given, nothing};
    use testkit::lives::{Life, assert_views_are_the_fold};
    use uuid::Uuid;

    use super::*;

    fn id() -> UserId {
        UserId::from_uuid(Uuid::from_u128(1))
    }

    fn registered(role: Role) -> Event {
        Registered { user_id: id(), role }.into()
    }

    fn updated(changed: &[&str], role: Role) -> Event {
        Updated {
            user_id: id(),
            changed: changed.iter().map(|&field| field.to_owned()).collect(),
            role,
        }
        .into()
    }

    fn erased() -> Event {
        Erased { user_id: id() }.into()
    }

    fn customer() -> Given<User> {
        given([registered(Role::Customer)])
    }

    fn admin() -> Given<User> {
        given([registered(Role::Admin)])
    }

    fn set_role(role: AssignableRole, last_admin: bool) -> Command {
        Command::SetRole { role, last_admin }
    }

    #[test]
    fn an_account_is_registered_once() {
        let register = || Command::Register {
            id: id(),
            role: AssignableRole::Customer,
        };
        nothing::<User>()
            .when(register())
            .then([registered(Role::Customer)])
            .when(register())
            .then_nothing();
    }

    #[test]
    fn a_change_names_the_fields_and_no_change_is_none() {
        let change = |fields: &[&'static str]| Command::Change {
            fields: fields.to_vec(),
        };
        let after = customer()
            .when(change(&["name", "phone"]))
            .then([updated(&["name", "phone"], Role::Customer)]);
        after.when(change(&[])).then_nothing();
    }

    #[test]
    fn a_role_is_given_and_taken() {
        let after = customer()
            .when(set_role(AssignableRole::Admin, false))
            .then([updated(&["role"], Role::Admin)]);
        assert_eq!(after.state().map(|user| user.role), Some(Role::Admin));
        let after = after.when(set_role(AssignableRole::Admin, false)).then_nothing();
        after
            .when(set_role(AssignableRole::Customer, false))
            .then([updated(&["role"], Role::Customer)]);
    }

    #[test]
    fn the_last_admin_is_neither_demoted_nor_erased() {
        let refused = admin().when(set_role(AssignableRole::Customer, true)).then_refused();
        assert!(matches!(refused, Error::LastAdmin), "{refused:?}");
        let refused = admin().when(Command::Erase { last_admin: true }).then_refused();
        assert!(matches!(refused, Error::LastAdmin), "{refused:?}");
        admin().when(set_role(AssignableRole::Admin, true)).then_nothing();
        admin().when(Command::Erase { last_admin: false }).then([erased()]);
    }

    #[test]
    fn signing_in_is_an_event_and_no_change() {
        let session_id = SessionId::from_uuid(Uuid::from_u128(2));
        let before = customer();
        let (changes, updated_at) = before.state().map(|user| (user.changes, user.updated_at)).unwrap();
        let after = before.when(Command::LogIn { session_id }).then([LoggedIn {
            user_id: id(),
            session_id,
        }
        .into()]);
        let user = after.state().unwrap();
        assert_eq!((user.changes, user.updated_at, user.version), (changes, updated_at, 2));
    }

    #[test]
    fn an_erased_account_is_erased_and_nothing_else_happens_to_it() {
        let gone = || -> Given<User> { given([registered(Role::Customer), erased()]) };
        assert!(gone().state().is_some_and(|user| !user.is_active()));
        gone().when(Command::Erase { last_admin: false }).then_nothing();
        for command in [
            Command::Change { fields: vec!["name"] },
            set_role(AssignableRole::Admin, false),
            Command::LogIn {
                session_id: SessionId::from_uuid(Uuid::nil()),
            },
        ] {
            assert!(matches!(gone().when(command).then_refused(), Error::Unknown));
        }
    }

    #[test]
    fn nothing_happens_to_an_account_that_is_not_there() {
        for command in [
            Command::Change { fields: vec!["name"] },
            Command::Erase { last_admin: false },
        ] {
            assert!(matches!(nothing::<User>().when(command).then_refused(), Error::Unknown));
        }
    }

    fn anything() -> impl Strategy<Value = Command> {
        let role = || prop::sample::select(AssignableRole::ALL);
        let fields = prop::sample::subsequence(vec!["name", "email", "phone"], 0..=3);
        prop_oneof![
            2 => role().prop_map(|role| Command::Register { id: id(), role }),
            2 => fields.prop_map(|fields| Command::Change { fields }),
            3 => (role(), any::<bool>()).prop_map(|(role, last_admin)| Command::SetRole { role, last_admin }),
            2 => any::<u128>().prop_map(|it| Command::LogIn { session_id: SessionId::from_uuid(Uuid::from_u128(it)) }),
            1 => any::<bool>().prop_map(|last_admin| Command::Erase { last_admin }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_asked_an_account_ends_once_and_the_last_admin_stays(
            commands in prop::collection::vec((anything(), 0..100_u32), 0..40)
        ) {
            let mut life = Life::<User>::default();
            for (command, seconds) in commands {
                life.pass(seconds);
                let before = life.state().cloned();
                let events = life.ask(command.clone());
                let Some(after) = life.state().cloned() else {
                    prop_assert!(events.is_empty());
                    continue;
                };
                let last_admin = match command {
                    Command::SetRole { last_admin, .. } | Command::Erase { last_admin } => last_admin,
                    Command::Register { .. } | Command::Change { .. } | Command::LogIn { .. } => false,
                };
                if let Some(before) = before {
                    let was_last = last_admin && before.role == Role::Admin && before.is_active();
                    prop_assert!(!was_last || (after.role == Role::Admin && after.is_active()), "{command:?}");
                    prop_assert!(before.is_active() || events.is_empty(), "an erased account: {events:?}");
                    prop_assert_eq!(before.id, after.id);
                    prop_assert_eq!(before.created_at, after.created_at);
                    let is_sign_in = matches!(events[..], [Event::LoggedIn(_)]);
                    let changes = u64::from(!events.is_empty() && !is_sign_in);
                    prop_assert_eq!(after.changes, before.changes + changes);
                    prop_assert!(changes == 0 || after.updated_at == life.now());
                    let is_set = matches!(command, Command::SetRole { role, .. } if Role::from(role) == after.role);
                    prop_assert!(before.role == after.role || is_set);
                }
                prop_assert!(after.role != Role::Service);
            }
            let made = life.events().iter().filter(|event| matches!(event, Event::Registered(_))).count();
            prop_assert_eq!(made, usize::from(life.state().is_some()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn views_of_accounts_are_the_fold_of_the_journal(
            commands in prop::collection::vec((1..4_u128, anything()), 0..30)
        ) {
            // Each account is made under its own id, or the admins would be told apart by nothing.
            let commands = commands.into_iter().map(|(number, command)| {
                let id = UserId::from_uuid(Uuid::from_u128(number));
                let command = match command {
                    Command::Register { role, .. } => Command::Register { id, role },
                    command => command,
                };
                (id.to_string(), command)
            });
            assert_views_are_the_fold::<User>(Service::Users, crate::COLLECTIONS, crate::fold, commands);
        }
    }
}
