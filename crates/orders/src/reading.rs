//! Reading orders: one, many, as they were, and what happened to them.

use std::ops::Bound;
use std::sync::Arc;

use contracts::order::{AsOf, ListOrderEvents, ListOrders};
use contracts::{CloudEvent, Code, Cursor, EventData, OrderId, Page, Problem, Service, order};
use jiff::Timestamp;
use kernel::auth::User;
use kernel::document::{Document, Value};
use kernel::event::{Position, StreamId};
use kernel::http::{Paging, page};
use kernel::reader::Reader;
use kernel::store::{Query, StoreError};
use kernel::wire;
use uuid::Uuid;

use crate::order::Order;
use crate::texts::OrderTexts;
use crate::{Error, Event};

/// An order that this user may see; another one is not there.
pub(crate) async fn own(reader: &Reader, id: OrderId, by: User) -> Result<Arc<Order>, Error> {
    let order = reader.get::<Order>(id).await?;
    order.filter(|order| by.may_access(order.user_id)).ok_or(Error::Unknown)
}

/// The order with its texts, as clients see it.
pub(crate) async fn with_texts(reader: &Reader, order: &Order) -> Result<order::Order, StoreError> {
    let texts = if order.has_texts {
        reader.get::<OrderTexts>(order.id).await?
    } else {
        None
    };
    Ok(order.to_public(texts.as_deref()))
}

/// The order as it is, or as it was; what people wrote is today's.
pub(crate) async fn as_of(reader: &Reader, id: OrderId, as_of: &AsOf, by: User) -> Result<order::Order, Error> {
    if as_of.at.is_some() && as_of.version.is_some() {
        return Err(Error::TwoPasts);
    }
    let now = own(reader, id, by).await?;
    let shown = match as_of {
        AsOf {
            at: None,
            version: None,
        } => now,
        &AsOf { at, version } => {
            let stream = StreamId::new(id.to_string());
            let then = reader.as_it_was::<Order>(&stream, version, at).await?;
            // A version that has not been yet is no more to be had than one before the first.
            let then = then.filter(|then| version.is_none_or(|version| then.version == version));
            let mut then = then.ok_or(Error::Unknown)?;
            then.has_texts = now.has_texts;
            Arc::new(then)
        }
    };
    Ok(with_texts(reader, &shown).await?)
}

/// The orders that this user may see, newest first.
pub(crate) async fn list(
    reader: &Reader,
    filter: &ListOrders,
    paging: &Paging,
    by: User,
) -> Result<Page<order::Order>, Problem> {
    let owner = if by.is_admin() { filter.user_id } else { Some(by.id) };
    if filter.user_id.is_some() && filter.user_id != owner {
        return Ok(Page::default());
    }
    let status = filter.status.map(|status| Value::from(status.as_str()));
    let mut query = match (owner, status) {
        (Some(owner), status) => {
            let mut query = Query::by(Order::COLLECTION, "by_user", vec![owner.to_string().into()], 0);
            query.filters.extend(status.map(|status| ("status", status)));
            query
        }
        (None, Some(status)) => Query::by(Order::COLLECTION, "by_status", vec![status], 0),
        (None, None) => Query::all(Order::COLLECTION, 0),
    };
    query.range = ids_between(filter.created_after, filter.created_before);
    query.descending = true;
    let found = reader.find(&paging.apply(query)?).await?;
    let Page { data, next_cursor } = paging.page(found, |found| reader.document::<Order>(&found))?;
    // An id tells the millisecond; within the first and the last one the order itself knows better.
    let wanted = |order: &Arc<Order>| {
        filter.created_after.is_none_or(|after| order.created_at > after)
            && filter.created_before.is_none_or(|before| order.created_at < before)
    };
    let orders: Vec<Arc<Order>> = data.into_iter().filter(wanted).collect();
    let written = orders.iter().filter(|order| order.has_texts).map(|order| order.id);
    let mut texts = reader.get_many::<OrderTexts>(written).await?.into_iter();
    let data = orders.iter().map(|order| {
        let texts = if order.has_texts { texts.next().flatten() } else { None };
        order.to_public(texts.as_deref())
    });
    Ok(Page {
        data: data.collect(),
        next_cursor,
    })
}

/// The ids of everything placed in these milliseconds or between them.
fn ids_between(after: Option<Timestamp>, before: Option<Timestamp>) -> (Bound<Value>, Bound<Value>) {
    const MILLIS_MAX: u128 = (1 << 48) - 1;
    const RANDOM_MAX: u128 = (1 << 80) - 1;
    let id = |time: Timestamp, random: u128| {
        let millis = u128::try_from(time.as_millisecond()).unwrap_or(0).min(MILLIS_MAX);
        Value::from(OrderId::from_uuid(Uuid::from_u128(millis << 80 | random)).to_string())
    };
    let low = after.map_or(Bound::Unbounded, |after| Bound::Included(id(after, 0)));
    let high = before.map_or(Bound::Unbounded, |before| Bound::Included(id(before, RANDOM_MAX)));
    (low, high)
}

/// The public events of an order, in order.
pub(crate) async fn events(
    reader: &Reader,
    id: OrderId,
    filter: &ListOrderEvents,
    by: User,
) -> Result<Page<CloudEvent>, Problem> {
    let after = filter.cursor.as_ref().map_or(Ok(0), |cursor| place(cursor, id))?;
    own(reader, id, by).await?;
    let stream = StreamId::new(id.to_string());
    let limit = filter.limit.get();
    let mut found = reader.store().stream(&stream, after + 1, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| {
        let version = i64::try_from(last.version).unwrap_or(i64::MAX);
        page::encode(Some(&Value::Integer(version)), stream.as_str())
    });
    let epoch = reader.store().tail(Position::START, 0).await?.head.epoch;
    let public = found.into_iter().filter(|event| Event::is_public(&event.event_type));
    let data = public.map(|event| wire::cloud_event(Service::Orders, epoch, &event));
    Ok(Page {
        data: data.collect(),
        next_cursor,
    })
}

/// The version that a cursor of this order's events stands for.
fn place(cursor: &Cursor, id: OrderId) -> Result<u64, Problem> {
    let version = match page::decode(cursor) {
        Some((Some(Value::Integer(version)), order)) if *order == *id.to_string() => u64::try_from(version).ok(),
        _ => None,
    };
    let foreign = || Problem::new(Code::InvalidQuery).error("cursor", "must be a next_cursor of this list");
    version.filter(|version| *version < u64::MAX).ok_or_else(foreign)
}
