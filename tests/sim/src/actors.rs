//! Who acts in the world. Each drives the real cores in the shape of the real drivers: take what came, do what is due, drain,
//! say when to be called again.

pub(crate) mod canary;
pub(crate) mod controller;
pub(crate) mod disk;
pub(crate) mod guardian;
pub(crate) mod guest;
pub(crate) mod hypervisor;
mod keys;
pub(crate) mod monitor;
pub(crate) mod scripts;
pub(crate) mod store_worker;
