import CPlatform
import Glibc

/// The file descriptors of one message, at most ``capacity`` of them.
///
/// Whatever is not taken is closed with the list, so no path of an error leaks a descriptor.
///
/// Threading: one thread at a time.
public struct FDList: ~Copyable, Sendable {
    /// How many descriptors a message can carry (GPUVM_MAX_MESSAGE_FDS).
    public static let capacity = Int(GPUVM_MAX_FDS)

    private static let taken: Int32 = -1

    private var descriptors = InlineArray<16, Int32>(repeating: FDList.taken)
    private var borrowed: UInt32 = 0
    /// How many descriptors were put in, taken ones included.
    public private(set) var count = 0

    /// Creates an empty list.
    public init() {}

    deinit {
        for index in 0..<count
        where descriptors[index] != Self.taken && borrowed & (1 << UInt32(index)) == 0 {
            close(descriptors[index])
        }
    }

    /// Whether the list has room for one more descriptor.
    public var isFull: Bool { count == Self.capacity }

    /// Adds a descriptor, which the list owns from now on.
    ///
    /// - Precondition: The list is not full.
    public mutating func append(_ fd: consuming OwnedFD) {
        precondition(!isFull, "a message carries at most \(Self.capacity) file descriptors")
        descriptors[count] = fd.release()
        count += 1
    }

    /// Adds a descriptor that stays somebody else's, who keeps it open until the message is sent.
    ///
    /// - Precondition: The list is not full.
    public mutating func append(borrowing fd: Int32) {
        precondition(!isFull, "a message carries at most \(Self.capacity) file descriptors")
        borrowed |= 1 << UInt32(count)
        descriptors[count] = fd
        count += 1
    }

    /// Moves the descriptor at `index` out; nil if there is none, or it was taken before.
    public mutating func take(_ index: Int) -> OwnedFD? {
        guard index >= 0, index < count, descriptors[index] != Self.taken,
            borrowed & (1 << UInt32(index)) == 0
        else { return nil }
        let fd = descriptors[index]
        descriptors[index] = Self.taken
        return OwnedFD(fd)
    }

    /// The descriptor at `index`, which stays the list's; nil if there is none, or it was taken.
    subscript(index: Int) -> Int32? {
        guard index >= 0, index < count, descriptors[index] != Self.taken else { return nil }
        return descriptors[index]
    }

    /// Takes the first descriptor and moves the others up by one place.
    mutating func takeFirst() -> OwnedFD? {
        guard let first = take(0) else { return nil }
        for index in 1..<count { descriptors[index - 1] = descriptors[index] }
        borrowed >>= 1
        count -= 1
        descriptors[count] = Self.taken
        return first
    }

    /// Puts `fd` before the others.
    mutating func prepend(_ fd: consuming OwnedFD) {
        precondition(!isFull, "a message carries at most \(Self.capacity) file descriptors")
        var index = count
        while index > 0 {
            descriptors[index] = descriptors[index - 1]
            index -= 1
        }
        descriptors[0] = fd.release()
        borrowed <<= 1
        count += 1
    }

    /// Fills the C form of a message; the list keeps the ownership.
    borrowing func copy(to message: inout gpuvm_message) {
        message.fd_count = UInt32(count)
        withUnsafeMutableBytes(of: &message.fds) { bytes in
            for index in 0..<count {
                bytes.storeBytes(
                    of: descriptors[index], toByteOffset: index * MemoryLayout<Int32>.stride,
                    as: Int32.self)
            }
        }
    }

    /// Takes over what recvmsg installed.
    init(adopting message: borrowing gpuvm_message) {
        let total = min(Int(message.fd_count), Self.capacity)
        var fds = message.fds
        withUnsafeBytes(of: &fds) { bytes in
            for index in 0..<total {
                descriptors[index] = bytes.load(
                    fromByteOffset: index * MemoryLayout<Int32>.stride, as: Int32.self)
            }
        }
        count = total
    }
}
