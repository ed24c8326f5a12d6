import CPlatform
import CWireProtocol
import Fencing
import Glibc
import SystemPackage
import Testing
import WireProtocol

/// Bytes written by hand, little-endian.
struct Hand {
    var bytes: [UInt8] = []

    mutating func u16(_ value: UInt16) { add(value) }
    mutating func u32(_ value: UInt32) { add(value) }
    mutating func u64(_ value: UInt64) { add(value) }

    mutating func text(_ string: String, width: Int) {
        let utf8 = Array(string.utf8)
        bytes += utf8 + [UInt8](repeating: 0, count: width - utf8.count)
    }

    private mutating func add<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    /// A header of the given fields, then `body`.
    static func message(
        _ opcode: UInt16, flags: UInt16 = 0, serial: UInt32 = 7, status: Int32 = 0,
        length: UInt32? = nil, body: [UInt8] = []
    ) -> [UInt8] {
        var hand = Hand()
        hand.u32(length ?? UInt32(16 + body.count))
        hand.u16(opcode)
        hand.u16(flags)
        hand.u32(serial)
        hand.u32(UInt32(bitPattern: status))
        return hand.bytes + body
    }
}

/// What became of a message; the message itself cannot leave the closure that borrows its bytes.
struct Decoded {
    let opcode: Opcode
    let serial: UInt32
    let status: Int32
    let body: [UInt8]
    let fdCount: Int
}

/// Decodes bytes that did not come through a socket.
func decode(
    _ bytes: [UInt8], fds: consuming FDList = FDList(),
    as direction: IncomingMessage.Direction = .request, bytesWereCut: Bool = false,
    fdsWereCut: Bool = false
) throws(DecodeFailure) -> Decoded {
    // A copy on the heap: noncopyable values cannot be captured by the closure of withUnsafeBytes.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    let message = try IncomingMessage(
        decoding: ReceivedMessage(
            bytes: UnsafeRawBufferPointer(memory), fds: fds, bytesWereCut: bytesWereCut,
            fdsWereCut: fdsWereCut), as: direction)
    return Decoded(
        opcode: message.opcode, serial: message.serial, status: message.status,
        body: message.copyBody(), fdCount: message.fds.count)
}

/// The failure of decoding, or nil if the message was accepted.
func decodeFailure(
    _ bytes: [UInt8], fds: consuming FDList = FDList(),
    as direction: IncomingMessage.Direction = .request
) -> DecodeFailure? {
    do throws(DecodeFailure) {
        _ = try decode(bytes, fds: fds, as: direction)
        return nil
    } catch {
        return error
    }
}

/// Which file is open, whatever the number: inodes are unique within one file system only.
struct FileID: Hashable {
    let device: dev_t
    let inode: ino_t
}

/// The file behind a descriptor; nil if it is not open.
func fileID(of fd: Int32) -> FileID? {
    var status = stat()
    return fstat(fd, &status) == 0 ? FileID(device: status.st_dev, inode: status.st_ino) : nil
}

/// The files that this process has open.
///
/// Tests of other suites open descriptors at the same time, so the number of open descriptors says
/// nothing; a file that is only ours can be looked for.
func openFiles() -> Set<FileID> {
    Set((Int32(0)..<1024).compactMap { fileID(of: $0) })
}

/// A memfd with the given contents and seals.
func memfd(_ contents: [UInt8], seals: UInt32) throws -> OwnedFD {
    let fd = try OwnedFD.memfd(name: "test", bytes: UInt64(contents.count))
    #expect(pwrite(fd.rawValue, contents, contents.count, 0) == contents.count)
    #expect(gpuvm_add_seals(fd.rawValue, seals) == 0)
    return fd
}

/// The read end of a fresh pipe.
func pipeEnd() throws -> OwnedFD {
    var fds: [Int32] = [-1, -1]
    try #require(pipe(&fds) == 0)
    close(fds[1])
    return OwnedFD(fds[0])
}

extension Optional where Wrapped == OwnedFD {
    /// Whether there is one; the macros cannot compare what cannot be copied.
    consuming func exists() -> Bool {
        switch consume self {
        case .some: true
        case .none: false
        }
    }
}

/// What several threads found.
final class Collected<Element: Sendable>: Sendable {
    private let elements = Guarded<[Element]>(.leaf, [])

    func add(_ element: Element) {
        elements.withLock { $0.append(element) }
    }

    var all: [Element] { elements.withLock { $0 } }
}
