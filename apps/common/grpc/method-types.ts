import type * as grpc from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';

/** The methods of a generated `XHandlers` or `XDefinition`, without the index signature they inherit. */
export type MethodsOf<T> = {
  [K in keyof T as string extends K ? never : number extends K ? never : K]: T[K];
};

/** Name in code of a method on the wire: `CloseIO` is `closeIO`. */
export type MethodName<K> = K extends string ? Uncapitalize<K> : never;

/** {@link MethodName} at run time. */
export function methodName(wireName: string): string {
  return wireName.charAt(0).toLowerCase() + wireName.slice(1);
}

/**
 * Which of the three kinds a handler is. Handlers with a callback answer once; a call with `request` has one message
 * coming in. (No service here has a method that streams in and answers once.)
 */
export type KindOf<Handler> = Handler extends (...args: infer Args) => unknown
  ? Args['length'] extends 2
    ? 'unary'
    : Args[0] extends { request: unknown }
      ? 'serverStream'
      : 'bidi'
  : never;

/** What a handler receives and what it may answer with. */
export type HandlerTypes<Handler> =
  KindOf<Handler> extends 'unary'
    ? Handler extends grpc.handleUnaryCall<infer Req, infer Res>
      ? { req: Req; res: Res }
      : never
    : KindOf<Handler> extends 'serverStream'
      ? Handler extends grpc.handleServerStreamingCall<infer Req, infer Res>
        ? { req: Req; res: Res }
        : never
      : Handler extends grpc.handleBidiStreamingCall<infer Req, infer Res>
        ? { req: Req; res: Res }
        : never;

/** What a client may send and what it receives, from the method's entry in `XDefinition`. */
export type ClientTypes<Method> =
  Method extends MethodDefinition<infer Req, infer _Res, infer _ReqOut, infer ResOut>
    ? { req: Req; res: ResOut }
    : never;
