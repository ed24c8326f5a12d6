import Glibc

/// An ioctl that the personality carries out, by its number.
///
/// Source: include/uapi/drm/drm.h, include/uapi/drm/nouveau_drm.h.
public enum NouveauIoctl: UInt8, Sendable, CaseIterable {
    case version = 0x00
    case gemClose = 0x09
    case getCap = 0x0c
    case setClientCap = 0x0d
    case primeHandleToFD = 0x2d
    case primeFDToHandle = 0x2e

    case getParam = 0x40
    case channelAlloc = 0x42
    case channelFree = 0x43
    case nvif = 0x47
    case svmInit = 0x48
    case svmBind = 0x49
    case vmInit = 0x50
    case vmBind = 0x51
    case exec = 0x52
    case zcullInfo = 0x53
    case gemNew = 0x80
    case gemPushbuf = 0x81
    case gemCPUPrep = 0x82
    case gemCPUFini = 0x83
    case gemInfo = 0x84

    case syncobjCreate = 0xbf
    case syncobjDestroy = 0xc0
    case syncobjHandleToFD = 0xc1
    case syncobjFDToHandle = 0xc2
    case syncobjWait = 0xc3
    case syncobjReset = 0xc4
    case syncobjSignal = 0xc5
    case syncobjTimelineWait = 0xca
    case syncobjQuery = 0xcb
    case syncobjTransfer = 0xcc
    case syncobjTimelineSignal = 0xcd
    case syncobjEventFD = 0xcf

    /// The bytes of the kernel's struct; a shorter argument is extended by zeros.
    var argumentBytes: Int {
        switch self {
        case .version: 64
        case .gemClose, .gemCPUPrep, .syncobjCreate, .syncobjDestroy: 8
        case .getCap, .setClientCap, .getParam, .svmInit, .vmInit, .syncobjReset, .syncobjSignal: 16
        case .primeHandleToFD, .primeFDToHandle: 12
        case .channelAlloc: 88
        case .channelFree, .gemCPUFini: 4
        case .nvif: 0
        case .svmBind, .vmBind, .exec, .gemInfo, .syncobjWait: 40
        case .zcullInfo, .gemNew, .syncobjTimelineWait: 48
        case .gemPushbuf: 64
        case .syncobjTransfer: 32
        case .syncobjHandleToFD, .syncobjFDToHandle: 24
        case .syncobjQuery, .syncobjTimelineSignal, .syncobjEventFD: 24
        }
    }

    /// The call behind a request.
    ///
    /// - Throws: What drm_ioctl answers before any handler runs: ENOTTY for another type; EINVAL for
    ///   a number that there is nothing behind; EACCES for what a render node does not offer.
    init(_ request: IoctlRequest, isRenderNode: Bool) throws(IoctlError) {
        guard request.type == IoctlRequest.drmType else {
            throw IoctlError(ENOTTY, "the request is no DRM ioctl")
        }
        let number = request.number
        guard let known = NouveauIoctl(rawValue: number) else {
            if Self.isRestricted(number) {
                throw IoctlError(EACCES, "the call needs the primary node's master or root")
            }
            throw .invalid("there is no call of that number")
        }
        if known == .setClientCap && isRenderNode {
            throw IoctlError(EACCES, "a render node has no client capabilities")
        }
        self = known
    }

    /// Calls that exist and are not for a render client (no DRM_RENDER_ALLOW), or for root alone.
    private static func isRestricted(_ number: UInt8) -> Bool {
        switch number {
        // GET_UNIQUE, GET_MAGIC, GET_CLIENT, GET_STATS, SET_VERSION, GEM_FLINK, GEM_OPEN, SET_UNIQUE,
        // BLOCK, UNBLOCK, AUTH_MAGIC, SET_MASTER, DROP_MASTER.
        case 0x01, 0x02, 0x05, 0x06, 0x07, 0x0a, 0x0b, 0x10...0x13, 0x1e, 0x1f: true
        // WAIT_VBLANK, CRTC_GET_SEQUENCE, CRTC_QUEUE_SEQUENCE.
        case 0x3a...0x3c: true
        // SETPARAM, GROBJ_ALLOC, NOTIFIEROBJ_ALLOC, GPUOBJ_FREE are for the old interface: the first
        // for root, the others refuse by themselves.
        case 0x41: true
        // Mode setting and leases, GETFB2, CLOSEFB.
        case 0xa0...0xbe, 0xc6...0xc9, 0xce, 0xd0: true
        default: false
        }
    }
}
