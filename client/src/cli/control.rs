//! The control socket: other programs switch the microphone of an interface that runs, a window manager's key for one.
//!
//! Not for other users: the socket is in this user's runtime directory. In: a line each connection. Out: a line.
//! Bounds: `ORDER_BYTES_MAX` a line, `PATIENCE` for it; one connection at a time, others wait in the system's queue.

use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::Failure;

/// Longest order.
const ORDER_BYTES_MAX: u64 = 64;

/// Longest wait for it, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Say nothing
    Mute,
    /// Say something again
    Unmute,
    /// The one or the other
    ToggleMute,
    /// Hear nothing
    Deafen,
    /// Hear something again
    Undeafen,
    /// The one or the other
    ToggleDeafen,
    /// The key of push to talk, or of push to mute, is pressed
    Talk,
    /// It is let go
    Quiet,
    /// The one or the other
    ToggleTalk,
    /// Only say how it is
    Status,
}

/// Where the socket is: `$XDG_RUNTIME_DIR/echomesh/control`.
pub fn path(runtime_directory: Option<&str>) -> Option<PathBuf> {
    let directory = runtime_directory.map(PathBuf::from).filter(|directory| directory.is_absolute())?;
    Some(directory.join("echomesh/control"))
}

/// The interface's end.
pub struct Control {
    orders: mpsc::Receiver<Asked>,
    taking: JoinHandle<()>,
    path: PathBuf,
}

/// An order, and who waits for what came of it.
pub struct Asked {
    /// What is to be done.
    pub order: Order,
    stream: UnixStream,
}

impl Control {
    /// Takes the socket, unless another interface has it: then that one is the one that is switched.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("no control socket: {}: {error}", path.display());
        if let Some(directory) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(format!(
                "another `echomesh ui` has the control socket {}: that one is switched",
                path.display()
            ));
        }
        // Of one that was killed.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let (given, orders) = mpsc::channel(1);
        Ok(Self { orders, taking: tokio::spawn(take(listener, given)), path: path.to_owned() })
    }

    /// The next order. Safe to drop: an order that is half read then is read on.
    pub async fn next(&mut self) -> Asked {
        match self.orders.recv().await {
            Some(asked) => asked,
            // The task ends with this.
            None => std::future::pending().await,
        }
    }
}

/// Reads orders, one after the other. What is no order is told so.
async fn take(listener: UnixListener, given: mpsc::Sender<Asked>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: no reason to spin.
            tokio::time::sleep(PATIENCE).await;
            continue;
        };
        if let Ok(Some(asked)) = tokio::time::timeout(PATIENCE, read_order(stream)).await
            && given.send(asked).await.is_err()
        {
            return;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.taking.abort();
        // It may be gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn read_order(mut stream: UnixStream) -> Option<Asked> {
    let mut line = String::new();
    let mut part = [0; ORDER_BYTES_MAX as usize];
    while !line.ends_with('\n') && line.len() < ORDER_BYTES_MAX as usize {
        match stream.read(&mut part).await {
            Ok(count) if count > 0 => line.push_str(&String::from_utf8_lossy(&part[..count])),
            _ => break,
        }
    }
    let Ok(order) = Order::from_str(line.trim(), true) else {
        let orders: Vec<String> = Order::value_variants().iter().map(|order| name(*order)).collect();
        let _ = stream.write_all(format!("no such order; there are: {}\n", orders.join(", ")).as_bytes()).await;
        return None;
    };
    Some(Asked { order, stream })
}

impl Asked {
    /// Says how it is now. Who does not read it, does not.
    pub fn answer(self, text: &str) {
        let _ = self.stream.try_write(format!("{text}\n").as_bytes());
    }
}

fn name(order: Order) -> String {
    order.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// `echomesh control`: gives an order to the interface that runs, and prints how it is then.
///
/// # Errors
/// `Failure::Local`: there is none.
pub fn run(order: Order, path: Option<&Path>) -> Result<(), Failure> {
    let path =
        path.ok_or_else(|| Failure::Local("XDG_RUNTIME_DIR is not set: there is no control socket".to_owned()))?;
    let none = |error: std::io::Error| {
        Failure::Local(format!("no `echomesh ui` runs that can be switched: {}: {error}", path.display()))
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(none)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(none)?;
    stream.write_all(format!("{}\n", name(order)).as_bytes()).map_err(none)?;
    let mut text = String::new();
    (&stream).take(4 * ORDER_BYTES_MAX).read_to_string(&mut text).map_err(none)?;
    super::commands::print_line(&super::commands::printable(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Goal: an order comes as it was given, what is none is told what there is, and a socket of a killed one is taken.
    #[test]
    fn orders_come_and_are_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path().to_str()).unwrap();
        assert!(
            run(Order::Mute, Some(&path)).is_err_and(|failure| failure.to_string().contains("no `echomesh ui` runs"))
        );
        runtime().block_on(async {
            let mut control = Control::open(&path).unwrap();
            assert!(Control::open(&path).is_err_and(|text| text.contains("another")));
            let asker = path.clone();
            let wrong = std::thread::spawn(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(&asker).unwrap();
                stream.write_all(b"explode\n").unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                run(Order::ToggleMute, Some(&asker)).unwrap();
                text
            });
            // The one of `open` that looked whether there is another said nothing.
            let asked = control.next().await;
            assert_eq!(asked.order, Order::ToggleMute);
            asked.answer("muted");
            assert!(wrong.join().unwrap().contains("toggle-mute"));
        });
        assert!(!path.exists(), "it is taken away at the end");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        runtime().block_on(async { assert!(Control::open(&path).is_ok()) });
    }

    /// Goal: an order that is half there when something else happens first, so that the wait for it is given up, comes.
    #[test]
    fn a_half_read_order_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path().to_str()).unwrap();
        runtime().block_on(async {
            let mut control = Control::open(&path).unwrap();
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"toggle-").await.unwrap();
            for _ in 0..100 {
                tokio::select! {
                    biased;
                    _ = control.next() => panic!("that is no order yet"),
                    () = tokio::task::yield_now() => {}
                }
            }
            stream.write_all(b"mute\n").await.unwrap();
            let asked = tokio::time::timeout(PATIENCE, control.next()).await;
            assert_eq!(asked.ok().map(|asked| asked.order), Some(Order::ToggleMute));
        });
    }
}
