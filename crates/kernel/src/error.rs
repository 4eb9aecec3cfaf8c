//! What can go wrong at the kernel's edge.

/// A failed kernel operation, with the object it was about.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A netlink request was refused.
    #[error("{operation} {object}")]
    Netlink {
        /// `add rule`, `delete route`, …
        operation: &'static str,
        /// The object in iproute2 or nft words.
        object: String,
        /// errno.
        source: std::io::Error,
    },
    /// `nft` refused a transaction.
    #[error("nft refused a transaction: {stderr}")]
    Nft {
        /// What it printed.
        stderr: String,
    },
    /// The kernel, or `nft`, is too old or built without something.
    #[error("{feature} is not there: {needs} (nft: {detail})")]
    Missing {
        /// What is missing.
        feature: &'static str,
        /// Which kernel has it.
        needs: &'static str,
        /// What `nft` said.
        detail: String,
    },
    /// A program or file could not be used.
    #[error("{operation} {object}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// errno.
        source: std::io::Error,
    },
    /// The kernel answered something we cannot read.
    #[error("{operation}: unexpected answer: {detail}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with the answer.
        detail: String,
    },
}
