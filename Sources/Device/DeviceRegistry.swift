import Memory

/// What the device knows across clients; behind the device's lock.
struct DeviceRegistry {
    var clients: [UInt32: Client] = [:]
    var buffers = BufferRegistry()
}
