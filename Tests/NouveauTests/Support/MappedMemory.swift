import CPlatform

struct MappingFailed: Error {
    var errno: Int32
}

/// A shared mapping of a buffer's memory; it stays, because its bytes are looked at by pointer, which
/// keeps no owner alive.
struct MappedMemory {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ descriptor: Int32, _ offset: UInt64, _ count: Int) throws {
        var error: Int32 = 0
        guard let start = gpuvm_map_shared(descriptor, offset, count, 1, &error) else {
            throw MappingFailed(errno: -error)
        }
        bytes = UnsafeMutableRawBufferPointer(start: start, count: count)
    }

    func write(_ dwords: [UInt32], at offset: Int = 0) {
        for (index, dword) in dwords.enumerated() {
            bytes.storeBytes(of: dword, toByteOffset: offset + index * 4, as: UInt32.self)
        }
    }

    func fill(_ byte: UInt8) { for index in bytes.indices { bytes[index] = byte } }
}
