//! Reads of chat: pages of lines, and what is unread.
//!
//! Not who may read what: the kernel decides that. All is read as it was stored last.
//! Bounds: a page has `PAGE_BYTES_MAX` bytes; `VIEWS_MAX` rooms and conversations are counted, `UNREAD_MAX` of the newest
//! `LOOK_MAX` lines of each.

use std::collections::BTreeMap;

use echomesh_proto::control::ChatMsg;
use echomesh_proto::ids::{RoomNumber, UserId};
use echomesh_proto::limits::UNREAD_MAX;
use echomesh_shard::chat_jobs::{ChatOutcome, ChatRead, From, Mark, UnreadView, View};
use echomesh_shard::{StoreOutcome, StoredRoom};

use super::chat::mentions_of;
use super::connection::Value::{self, Number, Text};
use super::connection::{Connection, Row};

type Failure = sqlx::Error;

/// Bytes of the lines of one page: half a frame, and an eighth of what a connection may leave unread.
pub(super) const PAGE_BYTES_MAX: usize = 32 * 1024;

/// Rooms and conversations of one account that are looked at for what is unread.
const VIEWS_MAX: usize = 200;

/// Lines looked at for what others said: who writes very much and marks nothing may not hold up the others' reads.
const LOOK_MAX: u32 = 10 * UNREAD_MAX;

/// Bytes of a line beside its texts, at most: numbers, tags, lengths.
const LINE_BYTES: usize = 96;

/// Bytes of a mention, at most.
const MENTION_BYTES: usize = 10;

fn number(number: u64) -> Value<'static> {
    Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn number_of(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(row.number(column)? as u64)
}

/// Gives each room the number of its newest line.
///
/// # Errors
/// The database fails.
pub(super) async fn load_newest(connection: &mut Connection, rooms: &mut [StoredRoom]) -> Result<(), Failure> {
    let sql = "SELECT id, COALESCE(
                   (SELECT c.id FROM chat_lines c WHERE c.room = rooms.id ORDER BY c.id DESC LIMIT 1), 0)
               FROM rooms";
    for row in connection.rows(sql, &[]).await? {
        let room = RoomNumber(number_of(&row, 0)?);
        if let Ok(at) = rooms.binary_search_by_key(&room, |room| room.number) {
            rooms[at].newest_line = number_of(&row, 1)?;
        }
    }
    Ok(())
}

/// Reads.
///
/// # Errors
/// The database fails.
pub(super) async fn read(connection: &mut Connection, read: &ChatRead) -> Result<StoreOutcome, Failure> {
    match read {
        ChatRead::History { user, view, room_name, from, count } => {
            let view = match view {
                Some(View::With(key)) => match account(connection, key).await? {
                    Some((peer, _)) => Lines::Conversation(*user, peer),
                    None => return Ok(StoreOutcome::NotFound),
                },
                Some(View::Room(room)) => Lines::Room(*room),
                None => Lines::Conversations(*user),
            };
            page(connection, *user, view, room_name, *from, *count).await
        }
        ChatRead::Unread { user, view: None, fresh } => all_unread(connection, *user, fresh).await,
        ChatRead::Unread { user, view: Some(view), fresh } => {
            let peer = match view {
                View::With(key) => match account(connection, key).await? {
                    Some(found) => Some(found),
                    None => return Ok(StoreOutcome::NotFound),
                },
                View::Room(_) => None,
            };
            let of = match (view, peer) {
                (View::Room(room), _) => Of::Room(*room),
                (View::With(_), Some((peer, name))) => Of::Peer(peer, name),
                (View::With(_), None) => return Ok(StoreOutcome::NotFound),
            };
            let seen = seen(connection, *user, &of).await?.max(seen_now(fresh, view));
            let list = vec![count(connection, *user, &of, seen).await?];
            Ok(StoreOutcome::Chat(ChatOutcome::Unread { list, more: false }))
        }
    }
}

async fn account(connection: &mut Connection, key: &str) -> Result<Option<(UserId, String)>, Failure> {
    let row = connection.row("SELECT id, name FROM accounts WHERE key = $1", &[Text(key)]).await?;
    row.map(|row| Ok((UserId(number_of(&row, 0)?), row.text(1)?))).transpose()
}

/// Which lines.
#[derive(Clone, Copy)]
enum Lines {
    Room(RoomNumber),
    Conversation(UserId, UserId),
    Conversations(UserId),
}

async fn page(
    connection: &mut Connection,
    user: UserId,
    of: Lines,
    room_name: &str,
    from: From,
    count: u32,
) -> Result<StoreOutcome, Failure> {
    let (compare, order, start) = match from {
        From::Before(0) => ("<", "DESC", i64::MAX as u64),
        From::Before(id) => ("<", "DESC", id),
        From::After(id) => (">", "ASC", id),
    };
    // One more than a page shows whether another follows.
    let limit = number(u64::from(count) + 1);
    let rows = match of {
        Lines::Room(room) => {
            let sql = format!(
                "SELECT l.id, l.account, COALESCE(a.name, ''), l.content, l.time_ms, l.edited_ms, l.deleted, l.client_id,
                 l.mentions FROM chat_lines l LEFT JOIN accounts a ON a.id = l.account
                 WHERE l.room = $1 AND l.id {compare} $2 ORDER BY l.id {order} LIMIT $3"
            );
            connection.rows(&sql, &[number(room.0), number(start), limit]).await?
        }
        Lines::Conversation(one, other) => {
            let sql = direct_page("l.low = $1 AND l.high = $2 AND l.id", compare, "$3", order, "$4");
            let values = [number(one.min(other).0), number(one.max(other).0), number(start), limit];
            connection.rows(&sql, &values).await?
        }
        Lines::Conversations(user) => {
            let side = |side: &str| direct_page(&format!("l.{side} = $1 AND l.id"), compare, "$2", order, "$3");
            let sql = format!(
                "SELECT * FROM (SELECT * FROM ({}) lows UNION ALL SELECT * FROM ({}) highs) both_sides
                 ORDER BY 1 {order} LIMIT $3",
                side("low"),
                side("high")
            );
            connection.rows(&sql, &[number(user.0), number(start), limit]).await?
        }
    };
    let more = rows.len() > count as usize;
    let (mut lines, mut bytes, mut cut) = (Vec::with_capacity(rows.len()), 0, false);
    for row in rows.iter().take(count as usize) {
        let line = line(row, user, room_name)?;
        bytes += size(&line);
        if bytes > PAGE_BYTES_MAX && !lines.is_empty() {
            cut = true;
            break;
        }
        lines.push(line);
    }
    Ok(StoreOutcome::Chat(ChatOutcome::History { lines, more: more || cut }))
}

/// Bytes of a line in a page, at most.
fn size(line: &ChatMsg) -> usize {
    let texts = [&line.content, &line.username, &line.room_id, &line.to, &line.client_id];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    texts + MENTION_BYTES * line.mentions.len() + LINE_BYTES
}

fn direct_page(is_it: &str, compare: &str, start: &str, order: &str, limit: &str) -> String {
    format!(
        "SELECT l.id, l.account, COALESCE(a.name, ''), l.content, l.time_ms, l.edited_ms, l.deleted, l.client_id,
         '' AS mentions, COALESCE(t.name, '') AS recipient
         FROM direct_lines l LEFT JOIN accounts a ON a.id = l.account
         LEFT JOIN accounts t ON t.id = l.low + l.high - l.account
         WHERE {is_it} {compare} {start} ORDER BY l.id {order} LIMIT {limit}"
    )
}

fn line(row: &Row, user: UserId, room_name: &str) -> Result<ChatMsg, Failure> {
    let author = number_of(row, 1)?;
    let of_room = !room_name.is_empty();
    Ok(ChatMsg {
        user_id: author,
        room_id: room_name.to_owned(),
        content: row.text(3)?,
        message_id: number_of(row, 0)?,
        time_ms: number_of(row, 4)?,
        username: row.text(2)?,
        client_id: if author == user.0 { row.text(7)? } else { String::new() },
        to: if of_room { String::new() } else { row.text(9)? },
        edited_ms: number_of(row, 5)?,
        deleted: row.number(6)? != 0,
        mentions: mentions_of(&row.text(8)?),
    })
}

/// A room or the other side of a conversation.
enum Of {
    Room(RoomNumber),
    Peer(UserId, String),
}

impl Of {
    /// As in `chat_seen`.
    fn columns(&self) -> (u64, u64) {
        match self {
            Of::Room(room) => (room.0, 0),
            Of::Peer(peer, _) => (0, peer.0),
        }
    }
}

/// Up to which line it is seen, as far as that is stored.
async fn seen(connection: &mut Connection, user: UserId, of: &Of) -> Result<u64, Failure> {
    let (room, peer) = of.columns();
    let sql = "SELECT seen FROM chat_seen WHERE account = $1 AND room = $2 AND peer = $3";
    let row = connection.row(sql, &[number(user.0), number(room), number(peer)]).await?;
    row.map_or(Ok(0), |row| number_of(&row, 0))
}

/// And as far as it is not stored yet.
fn seen_now(fresh: &[Mark], view: &View) -> u64 {
    fresh.iter().filter(|mark| mark.view == *view).map(|mark| mark.seen).max().unwrap_or(0)
}

/// Marks of rooms and of conversations with someone, behind which something came. Most accounts have many more marks
/// than these.
const BEHIND: &str = "
    SELECT room, peer, seen, newest, name, key FROM (
        SELECT s.room, s.peer, s.seen, COALESCE(a.name, '') AS name, COALESCE(a.key, '') AS key,
            CASE WHEN s.room <> 0
            THEN (SELECT c.id FROM chat_lines c WHERE c.room = s.room ORDER BY c.id DESC LIMIT 1)
            WHEN s.peer < s.account
            THEN (SELECT d.id FROM direct_lines d WHERE d.low = s.peer AND d.high = s.account ORDER BY d.id DESC LIMIT 1)
            ELSE (SELECT d.id FROM direct_lines d WHERE d.low = s.account AND d.high = s.peer ORDER BY d.id DESC LIMIT 1)
            END AS newest
        FROM chat_seen s LEFT JOIN accounts a ON a.id = s.peer AND a.deleted_ms = 0 WHERE s.account = $1) marks
    WHERE newest > seen AND (name <> '' OR EXISTS (SELECT 1 FROM rooms r WHERE r.id = room AND r.gone = 0))
    ORDER BY room, peer LIMIT $2";

async fn all_unread(connection: &mut Connection, user: UserId, fresh: &[Mark]) -> Result<StoreOutcome, Failure> {
    // Some of them may be seen by now.
    let limit = number((VIEWS_MAX + fresh.len() + 1) as u64);
    // In their order: conversations first.
    let mut views: BTreeMap<(u64, u64), (Of, u64)> = BTreeMap::new();
    let mut more = false;
    for row in connection.rows(BEHIND, &[number(user.0), limit]).await? {
        let (room, peer) = (number_of(&row, 0)?, number_of(&row, 1)?);
        let (of, view) = if room == 0 {
            (Of::Peer(UserId(peer), row.text(4)?), View::With(row.text(5)?))
        } else {
            (Of::Room(RoomNumber(room)), View::Room(RoomNumber(room)))
        };
        let seen = number_of(&row, 2)?.max(seen_now(fresh, &view));
        if number_of(&row, 3)? <= seen {
            continue;
        }
        if views.len() == VIEWS_MAX {
            more = true;
            break;
        }
        views.insert((room, peer), (of, seen));
    }
    // Rooms that were never seen before and are not stored yet.
    for mark in fresh {
        if let View::Room(room) = mark.view
            && !views.contains_key(&(room.0, 0))
        {
            let of = Of::Room(room);
            let seen = seen(connection, user, &of).await?.max(mark.seen);
            views.insert((room.0, 0), (of, seen));
        }
    }
    let mut list = Vec::new();
    for (of, seen) in views.into_values() {
        let view = count(connection, user, &of, seen).await?;
        if view.count > 0 {
            list.push(view);
        }
    }
    Ok(StoreOutcome::Chat(ChatOutcome::Unread { list, more }))
}

/// What came to one of them.
async fn count(connection: &mut Connection, user: UserId, of: &Of, seen: u64) -> Result<UnreadView, Failure> {
    let (table, is_it, values) = match of {
        Of::Room(room) => ("chat_lines", "room = $1 AND room = $2", [room.0, room.0]),
        Of::Peer(peer, _) => ("direct_lines", "low = $1 AND high = $2", [user.min(*peer).0, user.max(*peer).0]),
    };
    let [one, other] = values.map(number);
    let sql = format!("SELECT id FROM {table} WHERE {is_it} ORDER BY id DESC LIMIT 1");
    let newest = connection.row(&sql, &[one, other]).await?.map_or(Ok(0), |row| number_of(&row, 0))?;
    let (room, username) = match of {
        Of::Room(room) => (Some(*room), String::new()),
        Of::Peer(_, name) => (None, name.clone()),
    };
    let mut view = UnreadView { room, username, count: 0, mentions: 0, seen, newest };
    if newest <= seen {
        return Ok(view);
    }
    let mentions = if room.is_some() { "mentions" } else { "''" };
    let sql = format!(
        "SELECT count(*), COALESCE(sum(CASE WHEN m LIKE $5 THEN 1 ELSE 0 END), 0) FROM (
             SELECT m FROM (
                 SELECT id, account, deleted, {mentions} AS m FROM {table}
                 WHERE {is_it} AND id > $3 ORDER BY id DESC LIMIT {LOOK_MAX}) newest
             WHERE account <> $4 AND deleted = 0 ORDER BY id DESC LIMIT {UNREAD_MAX}) counted"
    );
    let pattern = format!("%,{},%", user.0);
    let values = [one, other, number(seen), number(user.0), Text(&pattern)];
    if let Some(row) = connection.row(&sql, &values).await? {
        (view.count, view.mentions) = (row.number(0)? as u32, row.number(1)? as u32);
    }
    Ok(view)
}
