//! Requests about rooms themselves: made with properties, set, deleted, invited to, listed, entered with a password.
//!
//! Sent and answered as all requests are (`requests`). Bounds: the server's, told in its refusals.

use bytes::Bytes;
use echomesh_proto::control::{Body, RoomAction, RoomActionType, RoomProperties};
use echomesh_proto::time::Now;

use super::requests::{Kind, action};
use super::secret::Password;
use super::{RequestError, RequestId, Session};

impl Session {
    /// Makes a room with these properties. Does not join it.
    ///
    /// # Errors
    /// [`RequestError`], as for every request.
    pub fn create_with(&mut self, now: Now, room: &str, properties: RoomProperties) -> Result<RequestId, RequestError> {
        let action = RoomAction { properties: Some(properties), ..action(RoomActionType::RaCreate, room) };
        self.ask(now, Kind::Room, Body::RoomAction(action))
    }

    /// Sets properties of a room; those that are absent stay.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn set_room(&mut self, now: Now, room: &str, properties: RoomProperties) -> Result<RequestId, RequestError> {
        let action = RoomAction { properties: Some(properties), ..action(RoomActionType::RaSet, room) };
        self.ask(now, Kind::Room, Body::RoomAction(action))
    }

    /// Ends a room; all in it are put out, and its lines are deleted.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn delete_room(&mut self, now: Now, room: &str) -> Result<RequestId, RequestError> {
        self.ask(now, Kind::Room, Body::RoomAction(action(RoomActionType::RaDelete, room)))
    }

    /// Lets an account into a room by its name, or with `invited` false no more.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn invite(&mut self, now: Now, room: &str, user: &str, invited: bool) -> Result<RequestId, RequestError> {
        let kind = if invited { RoomActionType::RaInvite } else { RoomActionType::RaUninvite };
        let action = RoomAction { username: user.to_owned(), ..action(kind, room) };
        self.ask(now, Kind::Room, Body::RoomAction(action))
    }

    /// Enters a room that has a password; as [`Session::join`] for the rest. The password is kept while the session
    /// is in the room, to enter it again by itself.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn join_with_password(&mut self, now: Now, room: &str, password: &str) -> Result<RequestId, RequestError> {
        let kept = Password(password.to_owned());
        let kind = Kind::Join { room: room.to_owned(), again: false, password: kept };
        let action = RoomAction { password: password.to_owned(), ..action(RoomActionType::RaJoin, room) };
        let id = self.ask(now, kind, Body::RoomAction(action))?;
        // A leave whose answer was lost is not sent again after this.
        self.set_leaving(room, false);
        Ok(id)
    }

    /// One page of the rooms whose names begin with `prefix`; `page` is empty, or `RoomState::next_page` of the page
    /// before.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn list_rooms(&mut self, now: Now, prefix: &str, page: Bytes) -> Result<RequestId, RequestError> {
        let action = RoomAction { page, prefix: prefix.to_owned(), ..action(RoomActionType::RaList, "") };
        self.ask(now, Kind::Room, Body::RoomAction(action))
    }
}
