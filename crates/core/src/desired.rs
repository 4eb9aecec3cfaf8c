//! What the kernel of this node should hold.
