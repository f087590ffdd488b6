//! The threads beside the shards, store, its reader and password hashers: started together, stopped in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use echomesh_shard::Limits;

use crate::admin::Condition;
use crate::config::Config;
use crate::jobs::{self, JobPort, Workers};
use crate::start_error::StartError;
use crate::store::{self, Loaded};
use crate::wake::Wake;
use crate::{hash, resources};

/// The running threads.
pub struct WorkerThreads {
    store: JoinHandle<()>,
    reader: JoinHandle<()>,
    hashers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl WorkerThreads {
    /// Opens the database and starts the threads. Gives each shard's port to them, in order, and what
    /// the store holds. `wakes` are the shards'; `condition` is told whether the database answers.
    ///
    /// # Errors
    /// The database cannot be used, or the system gives no threads.
    pub fn start(
        config: &Config,
        limits: &Limits,
        wakes: &[Arc<Wake>],
        condition: &Arc<Condition>,
    ) -> Result<(Self, Vec<JobPort>, Loaded), StartError> {
        let (mut rings, mut hash_desks) = (Vec::new(), Vec::new());
        let (mut store_desks, mut reader_desks) = (Vec::new(), Vec::new());
        for wake in wakes {
            let (port, store, hash_desk) = jobs::rings(limits, wake);
            rings.push(port);
            store_desks.push(store.writer);
            reader_desks.push(store.reader);
            hash_desks.push(hash_desk);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let hashers = hash::spawn(resources::hashers(), config.password, hash_desks, &stop)
            .map_err(|error| StartError::system("cannot start a password hasher's thread", &error))?;
        let (store, loaded) = store::spawn(config.database.clone(), store_desks, stop.clone(), condition.clone())?;
        let reader = store::spawn_reader(config.database.clone(), reader_desks, stop.clone())?;
        let workers = Workers {
            store: store.thread().clone(),
            reader: reader.thread().clone(),
            hash: hashers.iter().map(|hasher| hasher.thread().clone()).collect(),
        };
        let ports = rings.into_iter().map(|rings| JobPort::new(rings, workers.clone())).collect();
        Ok((Self { store, reader, hashers, stop }, ports, loaded))
    }

    /// After the shards have ended: the store finishes what they asked, and the database is closed.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.hashers.into_iter().chain([self.store, self.reader]) {
            thread.thread().unpark();
            thread.join().expect("a panic has aborted");
        }
    }
}
