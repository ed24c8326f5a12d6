import CPlatform
import Fencing
import Glibc
import Memory

/// The buffer that a dma-buf's descriptor is of.
///
/// A dma-buf outlives the handles of its buffer. The memfd that stands for it does, too, but what was
/// known of it goes with the last handle: then it has no fences.
struct SharedBuffer {
    /// The most fences on a buffer by import.
    static let maximumFences = 4096

    private let buffer: BufferObject?

    /// Finds the buffer; nil if the descriptor is none of the device's.
    init?(_ descriptor: Int32, of device: Device) {
        guard Self.isOurs(descriptor), let identity = try? FileIdentity(of: descriptor) else {
            return nil
        }
        buffer = device.buffer(identity)
    }

    /// Whether a memfd was made by ``SharedMemory/init(name:bytes:)``: by its seals and name. Somebody
    /// else's of the same name would only be taken for an idle buffer.
    private static func isOurs(_ descriptor: Int32) -> Bool {
        let seals = GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_SEAL
        let present = gpuvm_get_seals(descriptor)
        guard present >= 0, UInt32(present) & seals == seals else { return false }
        let name = Array("/memfd:gpuvm:".utf8CString.dropLast())
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: name.count) { room in
            guard let base = room.baseAddress else { return false }
            return readlink("/proc/self/fd/\(descriptor)", base, name.count) == name.count
                && room.elementsEqual(name)
        }
    }

    /// What an access waits for: a reader for the writers, a writer for all.
    func fences(forWriting: Bool) -> [Fence] {
        buffer?.reservation.fences(forWriting ? .read : .write) ?? []
    }

    /// Adds fences for others to wait for; false if there are too many.
    func add(_ fences: [Fence], usage: FenceUsage) -> Bool {
        guard let reservation = buffer?.reservation, !fences.isEmpty else { return true }
        let context = reservation.lock()
        defer { reservation.unlock(context) }
        guard reservation.fences(.bookkeep).count + fences.count <= Self.maximumFences else {
            return false
        }
        do throws(ReservationError) {
            try reservation.reserve(fences.count)
        } catch {
            return false
        }
        for fence in fences { reservation.add(fence, usage: usage) }
        return true
    }
}
