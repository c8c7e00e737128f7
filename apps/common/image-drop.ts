/**
 * What berthd's `grpc.health.v1.Health` calls its drop directory: NOT_SERVING until the archives that lay in it at the
 * start are imported or refused. Other containerds don't know it.
 */
export const imageDropService = 'berth.ImageDrop';
