//! Limits against abuse over real sockets: who connects too fast is told, who goes on is closed without a word, and it all
//! is counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod running;

use echomesh_proto::control::{Body, Ping, StatusCode};
use running::Server;

/// Connections made as fast as they can be: ten times as many as are let in and told in a second.
const CONNECTIONS: usize = 80;

/// Goal: of a flood of connections some are served, some told when to come again, and the rest closed without a byte, at
/// once, for which the server keeps nothing (PROTOCOL M95).
#[test]
fn a_flood_of_connections_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--port", "0", "--shards", "1", "--connects-per-second", "1"]);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    let (mut served, mut told, mut silent) = (0, 0, 0);
    for client in &mut clients {
        client.send(Body::Ping(Ping::default()));
        match client.next() {
            Some(Body::Ping(_)) => served += 1,
            Some(Body::Status(status)) => {
                assert_eq!(status.status_code(), StatusCode::StatusTryAgain);
                assert!(status.retry_after_ms > 0);
                assert!(client.next().is_none(), "told, then closed");
                told += 1;
            }
            None => silent += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(served >= 4 && told >= 1 && silent >= 1, "{served} served, {told} told, {silent} silent");
    drop(clients);
    let totals = server.stop();
    assert!(totals.contains(&format!("\"flood\":{silent}")), "{totals}");
    assert!(totals.contains(&format!("\"connect_rate\":{told}")), "{totals}");
}
