import CPlatform
import CWireProtocol
import Glibc
import SystemPackage
import Testing
import WireProtocol

/// File descriptors: their number, their kind, and who closes them.
@Suite struct DescriptorTests {
    private let importRequest = Hand.message(
        17, body: [0, 16] + [UInt8](repeating: 0, count: 38))

    @Test(arguments: [0, 2, 15, 16])
    func wrongNumberIsRefusedAndClosed(count: Int) throws {
        var files: [FileID] = []
        var list = FDList()
        for _ in 0..<count {
            let fd = try OwnedFD.memfd(name: "surplus", bytes: 4096)
            let number = fd.rawValue
            files.append(try #require(fileID(of: number)))
            list.append(fd)
        }
        let failure = decodeFailure(importRequest, fds: list)
        #expect(failure?.error.code == .invalidArgument)
        #expect(openFiles().isDisjoint(with: files))
    }

    @Test func theRightNumberIsHandedOver() throws {
        let fd = try OwnedFD.memfd(name: "right", bytes: 4096)
        let number = fd.rawValue
        let file = try #require(fileID(of: number))
        var list = FDList()
        list.append(fd)
        let decoded = try decode(importRequest, fds: list)
        #expect(decoded.fdCount == 1)
        // Decoding took no descriptor out of the message, which has closed it.
        #expect(!openFiles().contains(file))
    }

    @Test func borrowedDescriptorsStayOpen() throws {
        let fd = try OwnedFD.memfd(name: "borrowed", bytes: 1)
        do {
            var list = FDList()
            list.append(borrowing: fd.rawValue)
            #expect(list.count == 1)
            let taken = list.take(0).exists()
            #expect(!taken)
        }
        #expect(fcntl(fd.rawValue, F_GETFD) >= 0)
        let copy = try fd.duplicate()
        let files = (fileID(of: copy.rawValue), fileID(of: fd.rawValue))
        #expect(files.0 != nil && files.0 == files.1)
        #expect(fcntl(copy.rawValue, F_GETFD) & FD_CLOEXEC != 0)
    }

    @Test func takingMovesTheOwnership() throws {
        var list = FDList()
        list.append(try OwnedFD.memfd(name: "first", bytes: 1))
        list.append(try OwnedFD.memfd(name: "second", bytes: 1))
        let second = try takeOne(&list, 1)
        let again = list.take(1).exists()
        #expect(!again)
        let beyond = list.take(2).exists()
        #expect(!beyond)
        list = FDList()
        #expect(openFiles().contains(second.file))
        close(second.fd)
        #expect(!openFiles().contains(second.file))
    }

    private func takeOne(_ list: inout FDList, _ index: Int) throws -> (fd: Int32, file: FileID) {
        guard let fd = list.take(index) else {
            throw WireError(.badFileDescriptor, "there is no descriptor \(index)")
        }
        let number = fd.release()
        return (number, try #require(fileID(of: number)))
    }

    // MARK: External messages

    private static let goodSeals = GPUVM_SEAL_SHRINK | GPUVM_SEAL_WRITE
    private static let contents = [UInt8](repeating: 0, count: 24)

    private func external(
        _ fd: consuming OwnedFD, length: UInt32 = 24, trailing: Int = 0
    ) -> DecodeFailure? {
        var list = FDList()
        list.append(fd)
        return decodeFailure(
            Hand.message(
                34, flags: 1, length: length, body: [UInt8](repeating: 0, count: trailing)),
            fds: list)
    }

    @Test func sealedMemfdIsCopied() throws {
        let bytes = (0..<24).map { UInt8($0) }
        var list = FDList()
        list.append(try memfd(bytes, seals: Self.goodSeals))
        let decoded = try decode(Hand.message(34, flags: 1, length: 24), fds: list)
        #expect(decoded.body == bytes)
        #expect(decoded.fdCount == 0)
    }

    @Test(arguments: [0, GPUVM_SEAL_SHRINK, GPUVM_SEAL_WRITE, GPUVM_SEAL_FUTURE_WRITE | 2])
    func missingSealsAreRefused(seals: UInt32) throws {
        let fd = try memfd(Self.contents, seals: seals)
        let number = fd.rawValue
        let file = try #require(fileID(of: number))
        let failure = external(fd)
        #expect(failure?.error.code == .invalidArgument)
        #expect(failure?.error.text.contains("seal") == true)
        #expect(!openFiles().contains(file))
    }

    @Test func whatIsNoMemfdIsRefused() throws {
        let pipe = external(try pipeEnd())
        #expect(pipe?.error.code == .invalidArgument)
        let (end, _) = try UnixSocket.pair()
        let socket = external(OwnedFD(dup(end.rawValue)))
        #expect(socket?.error.code == .invalidArgument)
        let null = external(OwnedFD(open("/dev/null", O_RDONLY)))
        #expect(null?.error.code == .invalidArgument)
    }

    @Test func shortMemfdIsRefused() throws {
        let short = try memfd([UInt8](repeating: 0, count: 23), seals: Self.goodSeals)
        let failure = external(short)
        #expect(failure?.error.code == .invalidArgument)
    }

    @Test func impossibleLengthsAreRefused() throws {
        for length in [0, GPUVM_MAX_EXTERNAL + 1, .max] {
            let fd = try memfd(Self.contents, seals: Self.goodSeals)
            let failure = external(fd, length: length)
            #expect(failure?.error.code == .messageTooLong)
        }
    }

    @Test func bytesBehindTheHeaderAreRefused() throws {
        let fd = try memfd(Self.contents, seals: Self.goodSeals)
        let failure = external(fd, trailing: 8)
        #expect(failure?.error.code == .invalidArgument)
    }

    @Test func theOpcodesOwnDescriptorsFollowTheMemfd() throws {
        let request = [UInt8](repeating: 0, count: 40)
        var list = FDList()
        list.append(try memfd(request, seals: Self.goodSeals))
        list.append(try OwnedFD.memfd(name: "own", bytes: 4096))
        let decoded = try decode(Hand.message(17, flags: 1, length: 40), fds: list)
        #expect(decoded.fdCount == 1)
        var alone = FDList()
        alone.append(try memfd(request, seals: Self.goodSeals))
        let failure = decodeFailure(Hand.message(17, flags: 1, length: 40), fds: alone)
        #expect(failure?.error.code == .invalidArgument)
    }
}
