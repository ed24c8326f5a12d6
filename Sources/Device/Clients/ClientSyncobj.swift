import Fencing

/// A client's handle on a sync object: the object, and the slot of the fence page that shows it.
///
/// Threading: immutable.
struct ClientSyncobj: Sendable {
    let object: Syncobj
    let slot: FenceSlot
}
